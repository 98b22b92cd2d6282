package broker

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// users are the lines of a password file: user:$7$iterations$salt$hash, PBKDF2
// with SHA-512, as mosquitto_passwd writes them.
type users struct {
	hashes map[string]passwordHash

	// A fleet that comes back all at once would take minutes of hashing, so a
	// password that was right is remembered under a key of this process.
	mu    sync.Mutex
	key   [32]byte
	known map[string][sha256.Size]byte
	busy  chan struct{} // at most this many hash at a time
}

type passwordHash struct {
	iterations int
	salt, hash []byte
}

const (
	hashIterations = 210_000
	maxIterations  = 10_000_000
)

// HashPassword returns what stands behind "user:" in a password file.
func HashPassword(password []byte) (string, error) {
	salt := make([]byte, 12) // what mosquitto takes
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	hash, err := pbkdf2.Key(sha512.New, string(password), salt, hashIterations, sha512.Size)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	e := base64.StdEncoding
	return fmt.Sprintf("$7$%d$%s$%s", hashIterations, e.EncodeToString(salt), e.EncodeToString(hash)), nil
}

func parseHash(s string) (h passwordHash, err error) {
	f := strings.Split(s, "$")
	if len(f) != 5 || f[0] != "" || f[1] != "7" {
		return h, fmt.Errorf("want $7$iterations$salt$hash")
	}
	if h.iterations, err = strconv.Atoi(f[2]); err != nil || h.iterations < 1 || h.iterations > maxIterations {
		return h, fmt.Errorf("iterations %q are not in 1 to %d", f[2], maxIterations)
	}
	if h.salt, err = base64.StdEncoding.DecodeString(f[3]); err != nil {
		return h, fmt.Errorf("salt: %w", err)
	}
	if h.hash, err = base64.StdEncoding.DecodeString(f[4]); err != nil || len(h.hash) < 16 {
		return h, fmt.Errorf("hash is not base64 of at least 16 bytes")
	}
	return h, nil
}

func (h passwordHash) matches(password []byte) bool {
	got, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.hash))
	return err == nil && subtle.ConstantTimeCompare(got, h.hash) == 1
}

func loadUsers(file string) (*users, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "read password file: %v", err)
	}
	u := &users{hashes: map[string]passwordHash{}, known: map[string][sha256.Size]byte{}, busy: make(chan struct{}, 1)}
	if _, err := rand.Read(u.key[:]); err != nil {
		return nil, fmt.Errorf("configure broker: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "%s:%d: want user:hash", file, n)
		}
		h, err := parseHash(hash)
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "%s:%d: user %q: %v", file, n, name, err).
				WithHint("make the line with weir password or mosquitto_passwd")
		}
		u.hashes[name] = h
	}
	if err := lines.Err(); err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "read password file %s: %v", file, err)
	}
	return u, nil
}

// check reports whether the password is the user's. A user that does not exist
// takes as long.
func (u *users) check(name string, password []byte) bool {
	mac := hmac.New(sha256.New, u.key[:])
	fmt.Fprintf(mac, "%d:%s:", len(name), name)
	mac.Write(password)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	u.mu.Lock()
	known, ok := u.known[name]
	u.mu.Unlock()
	if ok && subtle.ConstantTimeCompare(known[:], sum[:]) == 1 {
		return true
	}
	h, exists := u.hashes[name]
	if !exists {
		h = passwordHash{iterations: hashIterations, salt: make([]byte, 16), hash: make([]byte, sha512.Size)}
	}
	u.busy <- struct{}{}
	right := h.matches(password)
	<-u.busy
	if !right || !exists {
		return false
	}
	u.mu.Lock()
	u.known[name] = sum
	u.mu.Unlock()
	return true
}

// admit reports whether a client may connect.
func (b *Broker) admit(c *conn, p *wire.Connect) bool {
	if p.HasUser && b.users != nil {
		return b.users.check(p.Username, p.Password)
	}
	if t, ok := c.nc.(*tls.Conn); ok && len(t.ConnectionState().VerifiedChains) > 0 {
		return true
	}
	return b.cfg.anonymousAllowed()
}
