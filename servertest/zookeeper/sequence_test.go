// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"encoding/binary"
	"hash/adler32"
	"strings"
	"testing"

	"github.com/golocker/locker/servertest"
)

// A transactionLog is what a server has on its disk: containers that were made
// long ago, and had many children.
type transactionLog struct {
	file []byte
	zxid int64
}

func newTransactionLog() *transactionLog {
	return &transactionLog{file: []byte("ZKLG\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00")}
}

// create adds the making of a node. The number of the next sequential node below
// its parent is children.
func (l *transactionLog) create(path string, children int32) {
	const create, persistent, worldACL = 1, 0, "\x00\x00\x00\x01\x00\x00\x00\x1f" + "\x00\x00\x00\x05world" + "\x00\x00\x00\x06anyone"
	l.zxid++
	var txn []byte
	txn = binary.BigEndian.AppendUint64(txn, 1) // session
	txn = binary.BigEndian.AppendUint32(txn, 1) // xid
	txn = binary.BigEndian.AppendUint64(txn, uint64(l.zxid))
	txn = binary.BigEndian.AppendUint64(txn, 1) // time
	txn = binary.BigEndian.AppendUint32(txn, create)
	txn = binary.BigEndian.AppendUint32(txn, uint32(len(path)))
	txn = append(txn, path...)
	txn = binary.BigEndian.AppendUint32(txn, 0) // data
	txn = append(txn, worldACL...)
	txn = append(txn, persistent)
	txn = binary.BigEndian.AppendUint32(txn, uint32(children))

	l.file = binary.BigEndian.AppendUint64(l.file, uint64(adler32.Checksum(txn)))
	l.file = binary.BigEndian.AppendUint32(l.file, uint32(len(txn)))
	l.file = append(append(l.file, txn...), 'B')
}

// Z4: at 2³¹-1 the number sticks, and new contenders would be in no order. They
// are refused before, until the container was empty once.
func TestHazard_Z4_SequenceSticks(t *testing.T) {
	t.Parallel()
	log := newTransactionLog()
	for _, last := range []struct {
		name  string
		count int32
	}{{"fine", 1<<31 - 1<<16 - 10}, {"full", 1<<31 - 1<<16}, {"stuck", 1<<31 - 3}} {
		log.create("/"+last.name, 1)
		log.create("/"+last.name+"/x", last.count)
	}
	spec := servertest.ZooKeeper()
	spec.Files = map[string]string{"/datalog/version-2/log.1": string(log.file)}
	spec.Env["JVMFLAGS"] += " -Dzookeeper.snapshot.trust.empty=true"
	server := servertest.Start(t, spec)
	admin := native(t, server.Addr)
	cfg := config(t, server)
	cfg.Chroot = ""
	b := newBackend(t, cfg)

	unlock(t, b, lock(t, b, request("fine")))
	for _, name := range []string{"full", "stuck"} {
		for range 4 {
			g, err := b.Lock(bounded(t), request(name))
			if g == nil || err == nil || !strings.Contains(err.Error(), "/"+name+" has counted") {
				t.Fatalf("%s: %+v %v", name, g, err)
			}
			if err := b.Withdraw(bounded(t), g); err != nil {
				t.Error(err)
			}
		}
		if nodes := contenders(t, admin, "/"+name); len(nodes) != 1 {
			t.Errorf("%s: left %q", name, nodes)
		}
		remove(t, admin, "/"+name+"/x")
		remove(t, admin, "/"+name) // as the server does with a container
		unlock(t, b, lock(t, b, request(name)))
	}
}
