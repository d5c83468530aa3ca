// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"fmt"
	"go/doc/comment"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// adapterHeadings are those of every adapter's package doc, so that a reader
// compares two stores by reading the same place of each.
var adapterHeadings = []string{"URL", "Recipe", "Guarantees", "Limits", "Sharing with native clients"}

func TestPackageDocs(t *testing.T) { report(t, checkPackageDocs(repository(t))) }

func checkPackageDocs(all []*source) (problems []string) {
	names, docs := map[string]string{}, map[string]string{}
	adapters := map[string]bool{}
	for _, s := range all {
		if s.isTest() {
			continue
		}
		dir := s.dir()
		names[dir] = s.file.Name.Name
		docs[dir] += s.file.Doc.Text()
		adapters[dir] = s.module == "." && dir == topOf(dir) && layerOf(modulePath+"/"+dir) == layerAdapter
	}
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		doc := docs[dir]
		start := "Package " + names[dir] + " "
		if names[dir] == "main" {
			start = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(doc, start) {
			problems = append(problems, fmt.Sprintf("%s: its package doc must begin with %q", dir, start))
		}
		if adapters[dir] && !slices.Equal(headings(doc), adapterHeadings) {
			problems = append(problems, fmt.Sprintf("%s: the headings of its package doc are %q, must be %q", dir, headings(doc), adapterHeadings))
		}
	}
	return problems
}

func headings(doc string) (texts []string) {
	var p comment.Parser
	for _, block := range p.Parse(doc).Content {
		if h, ok := block.(*comment.Heading); ok {
			text := ""
			for _, t := range h.Text {
				if plain, ok := t.(comment.Plain); ok {
					text += string(plain)
				}
			}
			texts = append(texts, text)
		}
	}
	return texts
}

func TestPackageDocsPolicy(t *testing.T) {
	full := "// Package p does.\n"
	for _, h := range adapterHeadings {
		full += "//\n// # " + h + "\n//\n// Text.\n"
	}
	swapped := strings.Replace(strings.Replace(full, "# URL", "# X", 1), "# Recipe", "# URL", 1)
	for _, tt := range []struct{ name, path, text, want string }{
		{"none", "backend/a.go", "package p", "must begin with"},
		{"another's", "backend/a.go", "// Package q does.\npackage p", "must begin with"},
		{"right", "backend/a.go", "// Package p does.\npackage p", ""},
		{"a command's", "cmd/x/a.go", "// Command x does.\npackage main", ""},
		{"an adapter's", "redis/a.go", full + "package p", ""},
		{"an adapter's without headings", "redis/a.go", "// Package p does.\npackage p", "the headings"},
		{"an adapter's in another order", "redis/a.go", swapped + "package p", "the headings"},
		{"an adapter's part", "redis/script/a.go", "// Package p does.\npackage p", ""},
		{"a test", "backend/a_test.go", "package p", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, checkPackageDocs([]*source{parse(t, tt.path, tt.text)}), tt.want)
		})
	}
}

func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkReadme(string(readme), repository(t)))
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// checkReadme finds Go blocks that are neither the body of an Example function
// of the root package nor declarations beside one: what the compiler has not
// seen is wrong one day.
func checkReadme(readme string, all []*source) (problems []string) {
	bodies, files := map[string]bool{}, ""
	for _, s := range all {
		if s.module == "." && s.dir() == "." && strings.HasPrefix(s.path, "example") {
			maps.Insert(bodies, maps.All(exampleBodies(s)))
			files += s.text
		}
	}
	blocks := goBlock.FindAllStringSubmatch(readme, -1)
	if len(blocks) == 0 {
		return []string{"README.md: has no Go block"}
	}
	for _, block := range blocks {
		declared := declaration.MatchString(block[1]) && strings.Contains(files, "\n\n"+block[1])
		if !declared && !bodies[strings.TrimSpace(block[1])] {
			problems = append(problems, "README.md: this block is no Example function's body, nor a declaration beside one:\n"+block[1])
		}
	}
	return problems
}

var (
	exampleFunc = regexp.MustCompile(`(?ms)^func Example\w*\(\) \{\n(.*?)^\}`)
	declaration = regexp.MustCompile(`^(?:// .*\n)*(?:type|func|var|const) `)
	output      = regexp.MustCompile(`(?ms)^\s*// (?:Unordered o|O)utput:.*`)
)

// exampleBodies returns the body of each Example, without its indentation and
// its expected output.
func exampleBodies(s *source) map[string]bool {
	bodies := map[string]bool{}
	for _, f := range exampleFunc.FindAllStringSubmatch(s.text, -1) {
		body := output.ReplaceAllString(f[1], "")
		lines := strings.Split(body, "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "\t")
		}
		bodies[strings.TrimSpace(strings.Join(lines, "\n"))] = true
	}
	return bodies
}

func TestReadmePolicy(t *testing.T) {
	example := parse(t, "example_test.go", "package p\n\nfunc ExampleDo() {\n\tif a {\n\t\tb()\n\t}\n\n\t// Output:\n\t// c\n}\n")
	example.text += "\n// A t is.\ntype t int\n\nfunc (t) m() {}\n"
	for _, tt := range []struct{ name, readme, want string }{
		{"declarations", "```go\n// A t is.\ntype t int\n\nfunc (t) m() {}\n```\n", ""},
		{"changed declarations", "```go\n// A t is.\ntype t uint\n```\n", "nor a declaration"},
		{"equal", "Text.\n```go\nif a {\n\tb()\n}\n```\n", ""},
		{"changed", "```go\nif a {\n\tc()\n}\n```\n", "no Example function's body"},
		{"one of two", "```go\nif a {\n\tb()\n}\n```\n```go\nb()\n```\n", "no Example function's body"},
		{"none", "```sh\nls\n```\n", "no Go block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, checkReadme(tt.readme, []*source{example}), tt.want)
		})
	}
}

func TestHazardsAreDescribed(t *testing.T) {
	design, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkHazards(string(design), repository(t)))
}

var hazardTest = regexp.MustCompile(`(?m)^func TestHazard_(SPI_[A-Za-z]+|[A-Z]+\d+[a-z]?)\w*\(`)

// checkHazards finds tests that carry the ID of a hazard which neither
// docs/design.md nor the doc of a package describes.
func checkHazards(design string, all []*source) (problems []string) {
	described := design
	for _, s := range all {
		described += s.file.Doc.Text()
	}
	for _, s := range all {
		for _, m := range hazardTest.FindAllStringSubmatch(s.text, -1) {
			id := strings.ReplaceAll(m[1], "_", "-")
			if !regexp.MustCompile(`(?i)\b` + id + `\b`).MatchString(described) {
				problems = append(problems, s.path+": the hazard "+id+" is described neither in docs/design.md nor in a package doc")
			}
		}
	}
	return problems
}

func TestHazardsPolicy(t *testing.T) {
	doc := parse(t, "redis/a.go", "// Package redis settles first (R1).\npackage redis")
	for name, want := range map[string]string{
		"TestHazard_G1a_LateEnqueue": "",
		"TestHazard_R1":              "",
		"TestHazard_G1":              "the hazard G1 ",
		"TestHazard_G1b_Other":       "the hazard G1b ",
		"TestHazard_SPI_Late_Twice":  "",
		"TestHazard_SPI_keep":        "the hazard SPI-keep ",
		"TestOther":                  "",
	} {
		s := parse(t, "redis/a_test.go", "package redis\n\nfunc "+name+"(t *testing.T) {}\n")
		wantProblem(t, checkHazards("**G1a**: a schedule. **SPI-late**: another.", []*source{doc, s}), want)
	}
}

func TestPaths(t *testing.T) { report(t, checkPaths(textFiles(t))) }

var (
	someonesPath = regexp.MustCompile(`(?:^|[^\w.~/-])/(?:home|root|Users|work|workspace|builds?)/[\w.]`)
	mdLink       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// checkPaths finds paths of somebody's machine, and links of a document to
// files that are not in this repository.
func checkPaths(files map[string]string) (problems []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n := 0
		for line := range strings.Lines(files[name]) {
			n++
			if m := someonesPath.FindString(line); m != "" {
				problems = append(problems, fmt.Sprintf("%s:%d: a path of somebody's machine: %s", name, n, m))
			}
			if !strings.HasSuffix(name, ".md") {
				continue
			}
			for _, m := range mdLink.FindAllStringSubmatch(line, -1) {
				u, err := url.Parse(m[1])
				if err != nil || u.Scheme != "" || u.Path == "" {
					continue
				}
				if target := path.Join(path.Dir(name), u.Path); !exists(files, target) {
					problems = append(problems, fmt.Sprintf("%s:%d: a link to %s, which is not in this repository", name, n, m[1]))
				}
			}
		}
	}
	return problems
}

// exists tells whether target is one of the files, or a directory of one.
func exists(files map[string]string, target string) bool {
	if _, ok := files[target]; ok {
		return true
	}
	for name := range files {
		if strings.HasPrefix(name, target+"/") {
			return true
		}
	}
	return false
}

func TestPathsPolicy(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"home", "a.go", "see /ho" + "me/alice/x", "somebody's machine"},
		{"root, quoted", "a.yml", `dir: "/ro` + `ot/go"`, "somebody's machine"},
		{"a part of a path", "a.go", "src/home/x and https://example.com/home/x", ""},
		{"a system's path", "a.md", "/var/lib/locks", ""},
		{"a link", "docs/a.md", "[b](b.md#x)", ""},
		{"a link to a directory", "docs/a.md", "[docs](../docs)", ""},
		{"a link to a heading", "a.md", "[b](#b)", ""},
		{"a link to the web", "a.md", "[b](https://example.com)", ""},
		{"a link out", "docs/a.md", "[b](../../design/b.md)", "not in this repository"},
		{"a link to nothing", "docs/a.md", "[c](c.md)", "not in this repository"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, checkPaths(map[string]string{tt.file: tt.text, "docs/b.md": ""}), tt.want)
		})
	}
}
