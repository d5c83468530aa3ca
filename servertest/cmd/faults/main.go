// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command faults writes docs/faults.md from what the stress runs have found out,
// and with -readme the README's table of it:
//
//	faults -dir out/faults -commit COMMIT -readme README.md docs/faults.md
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/golocker/locker/internal/marked"
	"github.com/golocker/locker/servertest/stress"
)

func main() {
	dir := flag.String("dir", "out/faults", "directory with "+stress.RecordsFile)
	commit := flag.String("commit", "", "the commit that was run")
	readme := flag.String("readme", "", "a document that has a part for a table")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: faults [-dir DIR] [-commit COMMIT] [-readme FILE] DOCUMENT")
		os.Exit(2)
	}
	if err := write(*dir, *commit, flag.Arg(0), *readme); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func write(dir, commit, document, readme string) error {
	file, err := os.Open(filepath.Join(dir, stress.RecordsFile))
	if err != nil {
		return err
	}
	records, err := read(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(document, []byte(newPage(records, commit).text()), 0o644); err != nil || readme == "" {
		return err
	}
	link, err := filepath.Rel(filepath.Dir(readme), document)
	if err != nil {
		return err
	}
	return marked.Rewrite(readme, "faults", newPage(records, commit).summary(filepath.ToSlash(link)))
}

// read reads a record from each line.
func read(in io.Reader) (records []stress.Record, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var r stress.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", len(records)+1, stress.RecordsFile, err)
		}
		records = append(records, r)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, errors.New("no runs")
	}
	return records, nil
}
