// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests in policy_*_test.go hold what the compiler cannot: who may import
// whom, what a package says of itself, that the documents and the code agree.
// Each is a function from sources to problems, so that it can be shown a small
// source that breaks its rule.

const modulePath = "github.com/golocker/locker"

// A source is one Go file of this repository.
type source struct {
	path   string // from the root, with slashes
	module string // the directory of its go.mod; "." is the root module
	text   string
	fset   *token.FileSet
	file   *ast.File
}

func (s *source) dir() string  { return path.Dir(s.path) }
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// at formats a problem with the place of node.
func (s *source) at(node ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(node.Pos()).Line, fmt.Sprintf(format, args...))
}

// imports returns the paths that the file imports.
func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// calls visits every mention of the given functions of an imported package.
func (s *source) calls(pkg string, names []string, visit func(*ast.SelectorExpr)) {
	local := ""
	for _, spec := range s.file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == pkg {
			local = path.Base(pkg)
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && local != "" && x.Name == local && slices.Contains(names, sel.Sel.Name) {
			visit(sel)
		}
		return true
	})
}

// parse makes a source of the root module.
func parse(t *testing.T, name, text string) *source {
	t.Helper()
	s := &source{path: name, module: ".", text: text, fset: token.NewFileSet()}
	file, err := parser.ParseFile(s.fset, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	s.file = file
	return s
}

// repository returns every Go file of this repository, whatever its module.
func repository(t *testing.T) []*source {
	t.Helper()
	var all []*source
	for name, text := range textFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		s := parse(t, name, text)
		for s.module = s.dir(); s.module != "."; s.module = path.Dir(s.module) {
			if _, err := os.Stat(filepath.Join(s.module, "go.mod")); err == nil {
				break
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	if len(all) < 5 {
		t.Fatalf("only %d Go files found: the walk is broken", len(all))
	}
	return all
}

// textFiles returns the content of every file of this repository by its path.
func textFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains([]string{".git", ".cache", "bin", "out"}, d.Name()) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil // .git is a file in a worktree
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() || strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".prof") {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)] = strings.ReplaceAll(string(content), "\r\n", "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// rootOnly returns the sources of the root module.
func rootOnly(all []*source) []*source {
	return slices.DeleteFunc(slices.Clone(all), func(s *source) bool { return s.module != "." })
}

// report fails the test with every problem.
func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// wantProblem fails unless there is exactly one problem that contains want, or
// none where want is empty.
func wantProblem(t *testing.T, problems []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(problems) > 0:
		t.Errorf("unexpected problems: %q", problems)
	case want != "" && (len(problems) != 1 || !strings.Contains(problems[0], want)):
		t.Errorf("problems %q, want one with %q", problems, want)
	}
}
