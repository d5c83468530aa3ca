// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"slices"
	"testing"

	"github.com/golocker/locker/backend"
	_ "github.com/golocker/locker/backend/all"
)

func TestRegistersEveryScheme(t *testing.T) {
	var got []string
	for _, s := range backend.Schemes() {
		got = append(got, s.Name)
	}
	if want := []string{"consul", "consul+unix", "consuls", "etcd", "etcds", "file", "memory", "postgres", "postgresql", "redis", "redis+unix", "rediss", "zk", "zks"}; !slices.Equal(got, want) {
		t.Errorf("the schemes are %q, want %q", got, want)
	}
}
