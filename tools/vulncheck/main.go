// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command vulncheck runs govulncheck on the modules whose directories are its
// arguments. It fails where one of them calls a vulnerable function of a module
// that it requires. Findings in the standard library are reported and do not
// fail: those go away with the Go release that builds an application, which is
// not this project's to choose.
//
// It reads the Go vulnerability database, or, on a network that does not reach
// it, the same reports out of the Go module golang.org/x/vulndb. Where there is
// neither, it says so and succeeds. It is run from its own module, whose go.mod
// names govulncheck.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const official = "https://vuln.go.dev"

func main() {
	db, err := database()
	if err != nil {
		fmt.Printf("vulncheck: WARNING: NOTHING WAS CHECKED: no vulnerability database is within reach:\n%v\n", err)
		return
	}
	fmt.Println("vulncheck: database", db)
	failed := false
	for _, dir := range os.Args[1:] {
		found, err := scan(db, dir)
		if err != nil {
			fmt.Fprintf(os.Stderr, "vulncheck: %s: %v\n", dir, err)
			os.Exit(1)
		}
		fmt.Printf("vulncheck: %s: %d in modules it calls, %d in the standard library\n", dir, len(found.modules), len(found.std))
		for _, line := range slices.Concat(found.lines(found.modules), found.lines(found.std)) {
			fmt.Println("  ", line)
		}
		failed = failed || len(found.modules) > 0
	}
	if failed {
		os.Exit(1)
	}
}

// database returns the URL of the database, for govulncheck's -db.
func database() (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Head(official + "/index/db.json")
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return official, nil
		}
		err = errors.New(official + ": " + resp.Status)
	}
	local, err2 := fromModule()
	if err2 != nil {
		return "", errors.Join(err, err2)
	}
	return local, nil
}

// fromModule downloads the module that holds the reports. Its data/osv has one
// JSON file a report; govulncheck makes the indexes of such a directory itself.
func fromModule() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", "golang.org/x/vulndb@latest").Output()
	if err != nil {
		return "", fmt.Errorf("golang.org/x/vulndb: %w\n%s", err, bytes.TrimSpace(out))
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("golang.org/x/vulndb: %w", err)
	}
	dir := filepath.Join(module.Dir, "data", "osv")
	reports, err := filepath.Glob(filepath.Join(dir, "GO-*.json"))
	if err != nil || len(reports) == 0 {
		return "", fmt.Errorf("golang.org/x/vulndb: no reports in %s", dir)
	}
	path := filepath.ToSlash(dir)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// scan runs govulncheck on the module in dir.
func scan(db, dir string) (findings, error) {
	cmd := exec.Command("go", "tool", "govulncheck", "-C", dir, "-db", db, "-test", "-format", "json", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return findings{}, fmt.Errorf("govulncheck: %w", err)
	}
	return parse(bytes.NewReader(out))
}

// findings are vulnerable functions that are called, by the ID of the report.
type findings struct {
	modules, std map[string]string // ID → where
	summaries    map[string]string // ID → what
}

func (f findings) lines(ids map[string]string) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		out = append(out, fmt.Sprintf("%s %s: %s", id, ids[id], f.summaries[id]))
	}
	return out
}

// parse reads govulncheck's stream of JSON messages.
func parse(r io.Reader) (findings, error) {
	f := findings{map[string]string{}, map[string]string{}, map[string]string{}}
	for dec := json.NewDecoder(r); ; {
		var m struct {
			OSV     *struct{ ID, Summary string }
			Finding *struct {
				OSV          string
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Version, Package, Receiver, Function string }
			}
		}
		if err := dec.Decode(&m); err == io.EOF {
			return f, nil
		} else if err != nil {
			return f, fmt.Errorf("reading govulncheck's output: %w", err)
		}
		if m.OSV != nil {
			f.summaries[m.OSV.ID] = m.OSV.Summary
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		at := m.Finding.Trace[0] // the vulnerable function, if one is called
		if at.Function == "" {
			continue
		}
		fixed := m.Finding.FixedVersion
		if fixed == "" {
			fixed = "no version yet"
		}
		function := strings.TrimPrefix(at.Receiver+"."+at.Function, ".")
		into := f.modules
		if at.Module == "stdlib" || at.Module == "toolchain" {
			into = f.std
		}
		into[m.Finding.OSV] = fmt.Sprintf("%s@%s %s.%s (fixed in %s)", at.Module, at.Version, at.Package, function, fixed)
	}
}
