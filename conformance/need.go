// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

// A need is what a check wants of the harness beside Open.
type need int

const (
	needURL need = 1 << iota
	needBreak
	needLeftovers
	needRefusals
	needServer
)

// missing names the field of the harness that is absent.
func (n need) missing(h Harness) string {
	switch {
	case n&needURL != 0 && h.URL == "":
		return "URL"
	case n&needBreak != 0 && h.Break == nil:
		return "Break"
	case n&needLeftovers != 0 && h.Leftovers == nil:
		return "Leftovers"
	case n&needRefusals != 0 && len(h.Refusals) == 0:
		return "Refusals"
	case n&needServer != 0 && h.NewServer == nil:
		return "NewServer"
	}
	return ""
}
