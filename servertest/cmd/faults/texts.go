// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

const head = `<!-- Written by make faults from its runs. Do not edit. -->

# Under faults

Processes lock a few names, read and write what the locks protect, renew, hold,
unlock and give up, while a schedule that comes from a seed breaks things around
them. What they saw is recorded, and judged by checkers that know what a lock is.
This page is written by ` + "`make faults`" + `; what stands here was run, at commit
%s. IDs such as G1 are those of [design.md](design.md#guarantees).

What a lock protects is two registers. One checks fencing tokens and must not lose
an update whatever happens: it is the *guarded register*. Its twin checks nothing,
and must lose some where holders are paused, or the runs show nothing.
`

const guaranteesText = `*held*: in no run did a checker find anything. Otherwise the exceptions are named;
each is documented. Of one there is a run below that shows it, or it holds *not always*.`

const faultsText = `How often each fault came, and what broke. Faults of clients are mixed with each
other; while one of the server or of a cluster lasts, nothing else goes wrong.`

const exceptionsText = `What does not hold, with the run that shows it and what its checker said first; and
what may not hold, which is a matter of luck.`

const figuresText = `*Updates lost without tokens* are those of the register that checks nothing. When
the machine stood still for more than 100 ms, what is about lateness is void there,
and the run is repeated.`

const mutantsText = `The runs find what is wrong: each line of these was taken out of this library, one
at a time, and the checker that is named told it. The seed is that of the run.`

const peersText = `The same runs over other libraries, each used as its documentation says. They find
what each is known for. It is no measure of what those libraries are good for: most
promise neither tokens nor a deadline of their own.`

const tail = `
## To run it again

    make faults                                  # all of it, about 25 minutes; writes this page
    make faults STORE=redis SEED=7 TIME=10m      # one store, and those whose name begins so
    make faults STORE=redis FAULT=clock-forward  # one fault

A run that finds something keeps its history (JSON lines), the logs of clients and
servers, porcupine's pictures (HTML) and what the checkers said in ` + "`out/faults/`" + `,
in a directory that is named for the test and the seed; with KEEP=1, one that finds
nothing as well. A seed decides what clients
do and which fault comes when, counted in operations; not how fast the machine is,
so a run that depends on an unlucky moment may need to be repeated.
`
