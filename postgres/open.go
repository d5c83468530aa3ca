// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/golocker/locker/backend"
)

func init() {
	params := slices.Concat(ownParams, driverParams)
	backend.Register(backend.Scheme{Name: "postgres", Params: params, Check: check, Open: openURL})
	backend.Register(backend.Scheme{Name: "postgresql", Params: params, Check: check, Open: openURL})
}

// check says what is wrong with a target, without any I/O.
func check(t backend.Target) error {
	if _, err := parse(t); err != nil {
		return err
	}
	return (&Backend{}).Info().CheckTTL(t.TTL)
}

// openURL connects, and opens the session that the first Lock uses.
func openURL(ctx context.Context, t backend.Target) (backend.Backend, error) {
	target, err := parse(t)
	if err != nil {
		return nil, err
	}
	driver, err := target.driverConfig()
	if err != nil {
		return nil, err
	}
	b, err := newBackend(&target.Config, func(ctx context.Context) (*pgconn.PgConn, error) {
		return pgconn.ConnectConfig(ctx, driver)
	})
	if err != nil {
		return nil, err
	}
	if t.Logger != nil {
		b.log = t.Logger
	}
	if _, err := b.shared(ctx, t.TTL); err != nil {
		_ = b.Close() // the first error is the one to tell
		return nil, err
	}
	return b, nil
}

// driverConfig has the driver understand the URL, with the PG… variables of the
// environment for what the URL leaves out. The password goes around the
// driver's parser, whose errors quote what they parse.
func (out *target) driverConfig() (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(out.connString())
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, fmt.Errorf("the driver refuses the parameters: %w", oneLine{err})
	}
	if out.password != "" {
		config.Password = out.password
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "locker"
	}
	withstand(config)
	return config, nil
}
