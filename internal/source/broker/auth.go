package broker

import (
	"crypto/tls"

	"github.com/weir-telemetry/weir/internal/source/credentials"
	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// users may log in.
type users = credentials.Users

func loadUsers(file string) (*users, error) {
	u, err := credentials.Load(file)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "read password file: %w", err).
			WithHint("make lines with weir password or mosquitto_passwd")
	}
	return u, nil
}

// admit reports whether a client may connect.
func (b *Broker) admit(c *conn, p *wire.Connect) bool {
	if p.HasUser && b.users != nil {
		return b.users.Verify(p.Username, string(p.Password))
	}
	if t, ok := c.nc.(*tls.Conn); ok && len(t.ConnectionState().VerifiedChains) > 0 {
		return true
	}
	return b.cfg.anonymousAllowed()
}
