// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"strings"
	"testing"
)

// A key that is not a lock's is under no name, whatever the name.
func TestKeysApart(t *testing.T) {
	k := keys{prefix: "p/"}
	for _, name := range []string{"a", "a/b", "~gone", "~probe", "~", "..", ".", "/", "~gone/x"} {
		directory := k.directory(name)
		for _, other := range []string{k.tombstone("x"), k.probe(), k.contender(name+"/", "x"), k.contender(name+"x", "x")} {
			if strings.HasPrefix(other, directory) {
				t.Errorf("%q: %q is under %q", name, other, directory)
			}
		}
		if rest, ok := strings.CutPrefix(k.contender(name, "x"), directory); !ok || rest != "x" {
			t.Errorf("%q: its key is %q", name, k.contender(name, "x"))
		}
	}
}
