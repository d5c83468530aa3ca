// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/golocker/locker/backend"
)

// paths are those of a Backend. What is not a lock's begins with a tilde and a
// letter that no escaped name has after one (G11a).
type paths struct{ root string } // empty, or as /a/b

// container is the parent of a lock's contenders.
func (p paths) container(name string) string {
	key := backend.Escape(name)
	if p.root == "" && key == "zookeeper" {
		key = "~7Aookeeper" // the plain one is ZooKeeper's own
	}
	return p.root + "/" + key
}

// never is a node that nobody makes: its deletion changes nothing.
func (p paths) never() string { return p.root + "/~never" }

// prefix is the path of a request's node up to its sequence number. Curator and
// zk.Lock name theirs so; by the GUID a client finds its node again.
func prefix(container, guid string) string { return container + "/" + protection(guid) + "-lock-" }

// isOf says whether a node is that of a GUID.
func isOf(node, guid string) bool { return strings.HasPrefix(node, protection(guid)) }

func protection(guid string) string { return "_c_" + guid }

// guidOf does not show the owner, which is a secret.
func guidOf(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:16])
}

// maxSequence is where contenders are refused: at 2³¹-1 the number sticks, and
// tells no order any more (Z4).
const maxSequence = 1<<31 - 1<<16

// A contender is a node in a lock's container.
type contender struct {
	node     string // its name, without the container's
	sequence int64
}

// contenders returns those among the children of a container. What others keep
// there is ignored.
func contenders(children []string) []contender {
	all := make([]contender, 0, len(children))
	for _, node := range children {
		if sequence, ok := sequenceOf(node); ok {
			all = append(all, contender{node, sequence})
		}
	}
	return all
}

// sequenceOf reads the number at the end of a contender's name. It comes after
// "lock-", or after the "__" of kazoo and of Curator's read-write locks (Z5).
func sequenceOf(node string) (sequence int64, ok bool) {
	const digits = 10
	end := len(node) - digits
	if end < 0 {
		return 0, false
	}
	if before := node[:end]; !strings.HasSuffix(before, "lock-") && !strings.HasSuffix(before, "__") {
		return 0, false
	}
	number, err := strconv.ParseUint(node[end:], 10, 63)
	return int64(number), err == nil
}
