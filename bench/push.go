// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import "time"

// rest lets others work: what they did then is what is measured.
func rest(d time.Duration) {
	time.Sleep(d) // sleeps: nobody tells that a peer's waiter waits, and a measurement lasts as long as it is told
}

// settleFor is how long a receiver is given until it waits.
const settleFor = 3 * time.Millisecond

// pushed measures a bare push: from the start of send to the return of receive,
// which has waited for a while.
func pushed(receive, send func() error) (time.Duration, error) {
	type end struct {
		at  time.Time
		err error
	}
	received := make(chan end, 1)
	go func() {
		err := receive()
		received <- end{time.Now(), err}
	}()
	rest(settleFor)
	began := time.Now()
	if err := send(); err != nil {
		return 0, err
	}
	e := <-received
	return e.at.Sub(began), e.err
}
