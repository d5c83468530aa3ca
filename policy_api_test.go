// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"flag"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files in api/ anew")

// TestAPI compares the public API of every package with its golden file, so
// that no change of it goes unseen in a review. make api writes them.
func TestAPI(t *testing.T) {
	got := publicAPI(rootOnly(repository(t)))
	if *update {
		old, _ := filepath.Glob("api/*.txt")
		for _, name := range old {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll("api", 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range got {
			if err := os.WriteFile(filepath.FromSlash(name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden := map[string]string{}
	for name, text := range textFiles(t) {
		if strings.HasPrefix(name, "api/") {
			golden[name] = text
		}
	}
	report(t, compareAPI(got, golden))
}

func compareAPI(got, golden map[string]string) (problems []string) {
	names := maps.Clone(got)
	maps.Copy(names, golden)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if got[name] != golden[name] {
			problems = append(problems, name+": the public API changed; if it should, run make api\n"+diff(golden[name], got[name]))
		}
	}
	return problems
}

// diff lists the lines that are in one text only.
func diff(old, now string) string {
	var b strings.Builder
	only := func(sign, of, in string) {
		known := strings.Split(in, "\n")
		for line := range strings.Lines(of) {
			if !slices.Contains(known, strings.TrimSuffix(line, "\n")) {
				b.WriteString(sign + line)
			}
		}
	}
	only("- ", old, now)
	only("+ ", now, old)
	if b.Len() == 0 {
		return "(the same lines in another order)"
	}
	return b.String()
}

// publicAPI returns the declarations that other modules can use, by the name of
// the package's golden file; a package without any, such as backend/all, has
// none. It shows them as on Linux.
func publicAPI(all []*source) map[string]string {
	decls := map[string][]string{}
	for _, s := range all {
		dir := s.dir()
		if s.isTest() || s.file.Name.Name == "main" || strings.Contains("/"+dir+"/", "/internal/") || !forLinux(s) {
			continue
		}
		name := "api/locker.txt"
		if dir != "." {
			name = "api/" + strings.ReplaceAll(dir, "/", "_") + ".txt"
		}
		if texts := exported(s); len(texts) > 0 {
			decls[name] = append(decls[name], texts...)
		}
	}
	out := map[string]string{}
	for name, texts := range decls {
		slices.Sort(texts)
		out[name] = strings.Join(texts, "\n") + "\n"
	}
	return out
}

// exported prints each exported declaration of a file, without comments and
// bodies.
func exported(s *source) (texts []string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, s.path, s.text, 0) // no comments
	if err != nil {
		panic(err) // it was parsed before
	}
	ast.FileExports(file)
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			f.Body = nil
			if f.Recv != nil && !ast.IsExported(receiver(f.Recv.List[0].Type)) {
				continue
			}
		} else if decl.(*ast.GenDecl).Tok == token.IMPORT {
			continue
		}
		var b strings.Builder
		gofmt := printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}
		if err := gofmt.Fprint(&b, fset, decl); err != nil {
			panic(err) // strings.Builder does not fail
		}
		texts = append(texts, strings.ReplaceAll(b.String(), "\n\n", "\n")) // where a comment was
	}
	return texts
}

// receiver returns the name of a receiver's type.
func receiver(expr ast.Expr) string {
	for {
		switch x := expr.(type) {
		case *ast.StarExpr:
			expr = x.X
		case *ast.IndexExpr:
			expr = x.X
		case *ast.IndexListExpr:
			expr = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// forLinux tells whether a file is built on Linux.
func forLinux(s *source) bool {
	base := strings.TrimSuffix(s.path, ".go")
	for _, other := range []string{"_windows", "_darwin", "_freebsd", "_openbsd", "_netbsd"} {
		if strings.HasSuffix(base, other) {
			return false
		}
	}
	for line := range strings.Lines(s.text) {
		if expr, err := constraint.Parse(strings.TrimSpace(line)); err == nil {
			return expr.Eval(func(tag string) bool {
				return tag == "linux" || tag == "unix" || tag == "amd64" || strings.HasPrefix(tag, "go1.")
			})
		}
	}
	return true
}

func TestAPIPolicy(t *testing.T) {
	got := publicAPI([]*source{
		parse(t, "a.go", `package locker
import "time"
// Doc.
func F(x int) error { return nil }
func f() {}
type T struct { A int; b string }
func (t *T) M() {}
func (t *T) m() {}
type u struct{}
func (u) M() {}
const C = time.Second
`),
		parse(t, "a_test.go", "package locker\nfunc G() {}"),
		parse(t, "other.go", "//go:build windows || !unix\n\npackage locker\nfunc W() {}"),
		parse(t, "b_windows.go", "package locker\nfunc W() {}"),
		parse(t, "internal/x/a.go", "package x\nfunc X() {}"),
		parse(t, "cmd/locker/a.go", "package main\nfunc X() {}"),
		parse(t, "backend/all/a.go", "package all\n"),
	})
	want := map[string]string{
		"api/locker.txt": `const C = time.Second
func (t *T) M()
func F(x int) error
type T struct {
	A int
	// contains filtered or unexported fields
}
`,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	wantProblem(t, compareAPI(want, want), "")
	changed := maps.Clone(want)
	changed["api/locker.txt"] = strings.Replace(want["api/locker.txt"], "x int", "x string", 1)
	wantProblem(t, compareAPI(changed, want), "- func F(x int) error\n+ func F(x string) error")
	delete(changed, "api/locker.txt")
	wantProblem(t, compareAPI(changed, want), "api/locker.txt")
}
