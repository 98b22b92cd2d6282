// Package credentials reads and writes files of user:hash lines, for the
// embedded broker and for the node's HTTP server, and makes passwords for those
// who want to be given one.
//
// A line is user:$7$iterations$salt$key, PBKDF2 with SHA-512 and salt and key in
// base64, as mosquitto_passwd writes them. Empty lines and lines that begin with
// # are skipped.
package credentials

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	scheme     = "7"
	iterations = 210_000
	maxRounds  = 10_000_000
	keyBytes   = sha512.Size
	leastKey   = 16
	saltBytes  = 12 // what mosquitto takes
)

var encoding = base64.StdEncoding

// New returns a password of 100 random bits in letters that are not mistaken for
// each other.
func New() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32 letters: 5 bits each
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b)
}

// CheckName says why a name cannot stand in a file of users.
func CheckName(user string) error {
	if user == "" || strings.ContainsAny(user, ":\r\n") || strings.HasPrefix(user, "#") || strings.TrimSpace(user) != user {
		return fmt.Errorf("%q cannot be a user name here: it is empty, has a colon, a line end or a space at an end, or begins with #", user)
	}
	return nil
}

// Line returns the line of a user with that password.
func Line(user, password string) (string, error) {
	if err := CheckName(user); err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := pbkdf2.Key(sha512.New, password, salt, iterations, keyBytes)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s:$%s$%d$%s$%s", user, scheme, iterations, encoding.EncodeToString(salt), encoding.EncodeToString(key)), nil
}

type entry struct {
	rounds    int
	salt, key []byte
}

// Users are the users of one file. It is safe for concurrent use.
type Users struct {
	users  map[string]entry
	secret [32]byte // keys the memory of passwords that were right

	busy  chan struct{} // one hash at a time, so that guessing cannot take all processors
	mu    sync.Mutex
	right map[string][sha256.Size]byte
}

// Load reads a file. All lines that are wrong are reported at once.
func Load(path string) (*Users, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	u := &Users{users: map[string]entry{}, right: map[string][sha256.Size]byte{}, busy: make(chan struct{}, 1)}
	_, _ = rand.Read(u.secret[:]) // never fails
	var wrong []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, e, err := parse(line)
		if err == nil && u.users[user].key != nil {
			err = fmt.Errorf("user %q is given twice", user)
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %v", path, n, err))
			continue
		}
		u.users[user] = e
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read users from %s: %w", path, err)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return u, nil
}

func parse(line string) (string, entry, error) {
	user, hash, ok := strings.Cut(line, ":")
	if !ok || user == "" {
		return "", entry{}, fmt.Errorf("not a user:$%s$… line; make lines with weir password NAME or mosquitto_passwd", scheme)
	}
	e, err := parseHash(hash)
	if err != nil {
		return "", entry{}, fmt.Errorf("user %q: %w", user, err)
	}
	return user, e, nil
}

func parseHash(hash string) (entry, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 5 || parts[0] != "" || parts[1] != scheme {
		return entry{}, fmt.Errorf("the hash is not $%s$iterations$salt$key", scheme)
	}
	rounds, err := strconv.Atoi(parts[2])
	if err != nil || rounds < 1 || rounds > maxRounds {
		return entry{}, fmt.Errorf("the count of iterations %q is not from 1 to %d", parts[2], maxRounds)
	}
	salt, err := encoding.DecodeString(parts[3])
	if err != nil {
		return entry{}, fmt.Errorf("the salt is not base64")
	}
	key, err := encoding.DecodeString(parts[4])
	if err != nil || len(key) < leastKey {
		return entry{}, fmt.Errorf("the key is not base64 of at least %d bytes", leastKey)
	}
	return entry{rounds, salt, key}, nil
}

// Verify reports whether the password is the user's. The first right answer of a
// user takes a while, as it should; later ones are compared with a keyed hash
// in memory, because a thousand devices may reconnect at once.
func (u *Users) Verify(user, password string) bool {
	e, known := u.users[user]
	if !known { // as slow as a known one
		e = entry{rounds: iterations, salt: u.secret[:saltBytes], key: u.secret[:]}
	}
	mac := hmac.New(sha256.New, u.secret[:])
	fmt.Fprintf(mac, "%d:%s:%s", len(user), user, password)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	if u.remembers(user, &sum) {
		return true
	}
	u.busy <- struct{}{}
	defer func() { <-u.busy }()
	if u.remembers(user, &sum) { // somebody with the same login came before
		return true
	}
	key, err := pbkdf2.Key(sha512.New, password, e.salt, e.rounds, len(e.key))
	if err != nil || subtle.ConstantTimeCompare(key, e.key) != 1 || !known {
		return false
	}
	u.mu.Lock()
	u.right[user] = sum
	u.mu.Unlock()
	return true
}

// remembers reports whether this was right before.
func (u *Users) remembers(user string, sum *[sha256.Size]byte) bool {
	u.mu.Lock()
	right, seen := u.right[user]
	u.mu.Unlock()
	return seen && subtle.ConstantTimeCompare(right[:], sum[:]) == 1
}
