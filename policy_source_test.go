// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"go/ast"
	"os"
	"slices"
	"strings"
	"testing"
)

const header = "// Copyright The locker Authors\n// SPDX-License-Identifier: Apache-2.0\n\n"

func TestHeaders(t *testing.T) { report(t, checkHeaders(repository(t))) }

func checkHeaders(all []*source) (problems []string) {
	for _, s := range all {
		if !strings.HasPrefix(s.text, header) {
			problems = append(problems, s.path+": does not begin with the copyright header and a blank line:\n"+header)
		}
	}
	return problems
}

func TestHeadersPolicy(t *testing.T) {
	for text, want := range map[string]string{
		header + "package p\n": "",
		"package p\n":          "does not begin",
		strings.TrimSuffix(header, "\n") + "package p\n":         "does not begin", // would be the package doc
		strings.Replace(header, "2.0", "1.0", 1) + "package p\n": "does not begin",
	} {
		wantProblem(t, checkHeaders([]*source{parse(t, "a.go", text)}), want)
	}
}

func TestClock(t *testing.T) { report(t, checkClock(repository(t))) }

// checkClock finds what reads the time past backend.Now. Go's clock stands
// still while a machine sleeps, and the store's does not: a lease that was
// measured with it would be too long.
func checkClock(all []*source) (problems []string) {
	for _, s := range rootOnly(all) {
		if s.isTest() || strings.HasPrefix(s.path, "backend/time") || s.path == "file/wallclock.go" {
			continue
		}
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"time"` && spec.Name != nil && spec.Name.Name == "." {
				problems = append(problems, s.at(spec, "a dot import hides which clock is read"))
			}
		}
		s.calls("time", []string{"Now", "Since", "Until"}, func(sel *ast.SelectorExpr) {
			problems = append(problems, s.at(sel, "time.%s: backend.Now is the only clock", sel.Sel.Name))
		})
	}
	return problems
}

func TestClockPolicy(t *testing.T) {
	for _, tt := range []struct{ name, path, text, want string }{
		{"Now", "a.go", `import "time"; var x = time.Now()`, "a.go:1: time.Now"},
		{"Since, renamed", "a.go", `import clock "time"; var x = clock.Since(y)`, "time.Since"},
		{"Until", "redis/a.go", `import "time"; var x = time.Until(y)`, "time.Until"},
		{"not called", "a.go", `import "time"; var now = time.Now`, "time.Now"},
		{"dot", "a.go", `import . "time"; var x = Now()`, "hides"},
		{"a timer", "a.go", `import "time"; var x = time.NewTimer(1)`, ""},
		{"another package", "a.go", `import "example.com/time2"; var x = time.Now()`, ""},
		{"a test", "a_test.go", `import "time"; var x = time.Now()`, ""},
		{"the clock", "backend/time_other.go", `import "time"; var x = time.Now()`, ""},
		{"the clock on the wall", "file/wallclock.go", `import "time"; var x = time.Now()`, ""},
		{"beside the clock", "backend/registry.go", `import "time"; var x = time.Now()`, "time.Now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, checkClock([]*source{parse(t, tt.path, "package p; "+tt.text)}), tt.want)
		})
	}
}

func TestSleeps(t *testing.T) { report(t, checkSleeps(repository(t))) }

// checkSleeps finds calls of time.Sleep in tests, the public suite's too,
// without a reason. A test that sleeps until something has happened fails on a
// slow machine and wastes time on a fast one. Inside synctest.Test, also of a
// function that calls it, time is simulated, and sleeping is the way to move it.
func checkSleeps(all []*source) (problems []string) {
	wrappers := map[string][]string{} // functions that make a bubble, by directory
	for _, s := range all {
		bubbles := bubblesOf(s, nil)
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && slices.ContainsFunc(bubbles, func(b ast.Node) bool { return within(b, f) }) {
				wrappers[s.dir()] = append(wrappers[s.dir()], f.Name.Name)
			}
		}
	}
	for _, s := range all {
		if s.module == "." && !s.isTest() && topOf(s.path) != "conformance" {
			continue
		}
		reasons := map[int]bool{}
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if why, ok := strings.CutPrefix(c.Text, "// sleeps: "); ok && strings.TrimSpace(why) != "" {
					reasons[s.fset.Position(group.End()).Line] = true
				}
			}
		}
		bubbles := bubblesOf(s, wrappers[s.dir()])
		s.calls("time", []string{"Sleep"}, func(sel *ast.SelectorExpr) {
			if slices.ContainsFunc(bubbles, func(b ast.Node) bool { return within(sel, b) }) {
				return
			}
			line := s.fset.Position(sel.Pos()).Line
			if !reasons[line] && !reasons[line-1] {
				problems = append(problems, s.at(sel, "time.Sleep: wait for the event, or say why not in a comment `// sleeps: why`"))
			}
		})
	}
	return problems
}

// bubblesOf returns the calls of synctest.Test and of wrappers in a file.
func bubblesOf(s *source, wrappers []string) (calls []ast.Node) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				if x, ok := f.X.(*ast.Ident); ok && x.Name == "synctest" && f.Sel.Name == "Test" {
					calls = append(calls, call)
				}
			case *ast.Ident:
				if slices.Contains(wrappers, f.Name) {
					calls = append(calls, call)
				}
			}
		}
		return true
	})
	return calls
}

func within(inner, outer ast.Node) bool {
	return outer.Pos() <= inner.Pos() && inner.End() <= outer.End()
}

func TestSleepsPolicy(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"bare", "time.Sleep(1)", "sleeps: why"},
		{"reason on the line", "time.Sleep(1) // sleeps: the holder works", ""},
		{"reason above", "// sleeps: the holder works\ntime.Sleep(1)", ""},
		{"reason of several lines", "// sleeps: the holder works,\n// and works\ntime.Sleep(1)", ""},
		{"no reason", "time.Sleep(1) // sleeps: ", "sleeps: why"},
		{"reason of another", "// sleeps: the holder works\ntime.Sleep(1)\n\ntime.Sleep(2)", "a_test.go:7"},
		{"in a bubble", "synctest.Test(t, func(t *testing.T) { time.Sleep(1) })", ""},
		{"in a wrapper's bubble", "bubble(t, func(t *testing.T) { time.Sleep(1) })", ""},
		{"in another function's argument", "other(t, func(t *testing.T) { time.Sleep(1) })", "sleeps: why"},
		{"beside a bubble", "synctest.Test(t, f); time.Sleep(1)", "sleeps: why"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "package p; import \"time\"\nfunc f() {\n\n" + tt.body + "\n}\n" +
				"func bubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }\nfunc other() {}\n"
			wantProblem(t, checkSleeps([]*source{parse(t, "a_test.go", text)}), tt.want)
			wantProblem(t, checkSleeps([]*source{parse(t, "a.go", text)}), "")
		})
	}
}

func TestGoMod(t *testing.T) {
	content, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkGoMod(string(content)))
}

// checkGoMod looks at the root module's go.mod, which applications inherit.
func checkGoMod(text string) (problems []string) {
	version := ""
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "replace":
			problems = append(problems, "go.mod: replace has no effect in the application that requires this module")
		case fields[0] == "toolchain":
			problems = append(problems, "go.mod: a library does not choose the toolchain")
		case fields[0] == "go" && len(fields) == 2:
			version = fields[1]
		}
	}
	if version != "1.26.0" {
		problems = append(problems, "go.mod: go "+version+": must be go 1.26.0, the least version that the drivers allow")
	}
	return problems
}

func TestGoModPolicy(t *testing.T) {
	for text, want := range map[string]string{
		"module m\n\ngo 1.26.0\n":                            "",
		"module m\n":                                         "must be go 1.26.0",
		"module m\n\ngo 1.26.8\n":                            "must be go 1.26.0",
		"module m\n\ngo 1.26.0\n\nreplace a => ../a\n":       "replace",
		"module m\n\ngo 1.26.0\n\nreplace (\n\ta => ../a\n)": "replace",
		"module m\n\ngo 1.26.0\ntoolchain go1.26.8\n":        "toolchain",
	} {
		wantProblem(t, checkGoMod(text), want)
	}
}
