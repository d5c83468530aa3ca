// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package servertest starts the real servers in containers, for tests, and
// breaks them on purpose.
//
// A [Spec] says what to run ([Redis], [Postgres], [Etcd], [Consul],
// [ZooKeeper]). [Shared] starts it once for all tests of the binary; [Start]
// gives a test a server of its own, which it may kill, pause, empty or cut off:
//
//	srv := servertest.Start(t, servertest.Redis())
//	px := proxy.Start(t, srv.Addr, proxy.RESP)
//	client := redis.NewClient(&redis.Options{Addr: px.Addr()})
//	srv.Pause(t)
//
// An address stays the same for the life of a server: through a restart, and
// through the loss of its data. Package proxy has the faults of the network.
//
// Without Docker a test that asks for a server is skipped; with CI=true it
// fails. Package images says where the images come from. Nothing is left
// behind by a test binary that was killed: a watcher process outlives it and
// removes its containers and networks.
package servertest
