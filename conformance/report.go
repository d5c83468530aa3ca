// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Status is how a check ended.
type Status string

// The ends of a check.
const (
	Pass  Status = "pass"
	Fail  Status = "fail"
	Skip  Status = "skip"  // the harness cannot run the check
	Error Status = "error" // no result: a panic, or a machine or a store that stood still
)

// A Report is what Run found out about a backend.
type Report struct {
	Backend string    `json:"backend"`
	TTL     string    `json:"ttl"`
	Started time.Time `json:"started"`
	Fencing bool      `json:"fencing"`
	Fair    bool      `json:"fair"`
	Poll    bool      `json:"poll"`
	Checks  []Result  `json:"checks"`
}

// A Result is that of one check.
type Result struct {
	Guarantee string  `json:"guarantee"` // such as "G1_Exclusion"
	Name      string  `json:"name"`
	Rule      string  `json:"rule"`
	Status    Status  `json:"status"`
	Detail    string  `json:"detail,omitempty"` // what happened, or what was missing
	Seconds   float64 `json:"seconds"`

	log []string
}

// A Count is how many checks ended how.
type Count struct{ Pass, Fail, Skip, Error int }

func (n *Count) add(s Status) {
	switch s {
	case Pass:
		n.Pass++
	case Fail:
		n.Fail++
	case Skip:
		n.Skip++
	default:
		n.Error++
	}
}

// Total is how many checks there are.
func (n Count) Total() int { return n.Pass + n.Fail + n.Skip + n.Error }

// Counts returns the guarantees in their order, and the count of each.
func (r *Report) Counts() (guarantees []string, counts map[string]*Count) {
	counts = map[string]*Count{}
	for _, ck := range r.Checks {
		n := counts[ck.Guarantee]
		if n == nil {
			n = &Count{}
			counts[ck.Guarantee] = n
			guarantees = append(guarantees, ck.Guarantee)
		}
		n.add(ck.Status)
	}
	return guarantees, counts
}

// Summary is for people: the counts, and each check that was not run.
func (r *Report) Summary() string {
	var b strings.Builder
	var all Count
	fmt.Fprintf(&b, "conformance of %s, TTL %s:\n", r.Backend, r.TTL)
	ids, counts := r.Counts()
	for _, id := range ids {
		n := counts[id]
		fmt.Fprintf(&b, "  %-16s %3d pass %3d fail %3d skip %3d error\n", id, n.Pass, n.Fail, n.Skip, n.Error)
		all.Pass, all.Fail, all.Skip, all.Error = all.Pass+n.Pass, all.Fail+n.Fail, all.Skip+n.Skip, all.Error+n.Error
	}
	fmt.Fprintf(&b, "  %-16s %3d pass %3d fail %3d skip %3d error\n", "all", all.Pass, all.Fail, all.Skip, all.Error)
	for _, ck := range r.Checks {
		if ck.Status == Skip {
			fmt.Fprintf(&b, "  NOT CHECKED: %s/%s: %s\n", ck.Guarantee, ck.Name, ck.Detail)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// Write writes the report to <dir>/<backend>.json and, in JUnit's form, to
// <dir>/<backend>.xml. It makes the directory.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	base := filepath.Join(dir, strings.Map(fileRune, r.Backend))
	if err := os.WriteFile(base+".json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	if text, err = xml.MarshalIndent(r.junit(), "", "  "); err != nil {
		return err
	}
	return os.WriteFile(base+".xml", append([]byte(xml.Header), append(text, '\n')...), 0o644)
}

// fileRune keeps a backend's name out of other directories.
func fileRune(r rune) rune {
	if strings.ContainsRune(`/\:`, r) {
		return '-'
	}
	return r
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitDetail `xml:"failure"`
	Error   *junitDetail `xml:"error"`
	Skipped *junitDetail `xml:"skipped"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (r *Report) junit() junitSuite {
	s := junitSuite{Name: "conformance/" + r.Backend}
	var n Count
	var seconds float64
	for _, ck := range r.Checks {
		n.add(ck.Status)
		seconds += ck.Seconds
		c := junitCase{Class: r.Backend + "." + ck.Guarantee, Name: ck.Name, Time: fmt.Sprintf("%.3f", ck.Seconds)}
		detail := &junitDetail{Message: ck.Rule, Text: ck.Detail}
		switch ck.Status {
		case Fail:
			c.Failure = detail
		case Error:
			c.Error = detail
		case Skip:
			c.Skipped = detail
		}
		s.Cases = append(s.Cases, c)
	}
	s.Tests, s.Failures, s.Errors, s.Skipped = n.Total(), n.Fail, n.Error, n.Skip
	s.Time = fmt.Sprintf("%.3f", seconds)
	return s
}
