package seal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Source is where the master key comes from: exactly one is given.
type Source struct {
	File    string // a file that only its owner can read
	Env     string // name of an environment variable
	Command string // a command line for the shell; its output is the key
}

// PendingSuffix names the file beside the key file that holds the next master key
// while a rotation is under way.
const PendingSuffix = ".new"

const commandTimeout = 30 * time.Second

// Credentials are the master keys that may open a ring: the configured one, and
// one that an interrupted rotation left.
type Credentials struct {
	source  Source
	masters []*Master
}

// Source is where the keys came from.
func (c *Credentials) Source() Source { return c.source }

// Holding makes credentials of one key that no file holds; for tests and tools.
func Holding(m *Master) *Credentials { return &Credentials{masters: []*Master{m}} }

func keyError(code telemetry.Code, format string, args ...any) *telemetry.Error {
	return telemetry.Errorf(code, "read master key", format, args...)
}

// Load reads the master key. It writes nothing.
func (s Source) Load(ctx context.Context) (*Credentials, error) {
	c := &Credentials{source: s}
	var err error
	switch {
	case s.File != "":
		err = c.loadFiles()
	case s.Env != "":
		err = c.loadEnv()
	default:
		err = c.loadCommand(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Credentials) loadFiles() error {
	path := c.source.File
	m, err := readKeyFile(path)
	if err == nil {
		c.masters = append(c.masters, m)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if next, pendingErr := readKeyFile(path + PendingSuffix); pendingErr == nil {
		next.pending = path + PendingSuffix
		c.masters = append(c.masters, next)
	}
	if len(c.masters) == 0 {
		return keyError(telemetry.CodeNotFound, "there is no key file %s", path).
			WithHint("a new node: make one with weir key init; a node that has data: put its key file back, without it nothing can be read")
	}
	return nil
}

func readKeyFile(path string) (*Master, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, keyError(telemetry.CodeUnavailable, "%w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, keyError(telemetry.CodeUnavailable, "%w", err)
	}
	if info.IsDir() || info.Size() > 4096 {
		return nil, keyError(telemetry.CodeInvalid, "%s is no key file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, keyError(telemetry.CodeInvalid, "%s can be read by others than its owner (mode %04o)", path, info.Mode().Perm()).
			WithHint("chmod 600 " + shellWord(path))
	}
	text := make([]byte, info.Size())
	n, err := f.Read(text)
	if err != nil && len(text) > 0 {
		return nil, keyError(telemetry.CodeUnavailable, "%w", err)
	}
	m, err := ParseMaster(text[:n])
	if err != nil {
		return nil, keyError(telemetry.CodeInvalid, "%s: %w", path, err).
			WithHint("put the copy of the key back; only where nothing is stored yet: remove the file and draw a key with weir key init")
	}
	m.where = path
	return m, nil
}

// shellWord is a path as a shell takes it.
func shellWord(s string) string {
	if strings.ContainsAny(s, " '\"\\$`*?;&|<>()[]{}~#!\t\n") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

func (c *Credentials) loadEnv() error {
	name := c.source.Env
	text, ok := os.LookupEnv(name)
	if !ok || text == "" {
		return keyError(telemetry.CodeNotFound, "the environment variable %s, which encryption.key_env names, is not set", name).
			WithHint("set it to the master key: 64 hexadecimal digits, or base64 of 32 bytes; openssl rand -hex 32 draws one for a new data_dir")
	}
	m, err := ParseMaster([]byte(text))
	if err != nil {
		return keyError(telemetry.CodeInvalid, "the environment variable %s: %w", name, err).
			WithHint("set it to the master key alone; openssl rand -hex 32 draws one for a new data_dir")
	}
	m.where = "environment variable " + name
	c.masters = append(c.masters, m)
	return nil
}

func (c *Credentials) loadCommand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	cmd := exec.CommandContext(ctx, shell, flag, c.source.Command)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		e := keyError(telemetry.CodeUnavailable, "the key command failed: %v", err)
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
			e = e.WithHint("it said: " + said)
		}
		return e
	}
	m, err := ParseMaster(out)
	if err != nil {
		return keyError(telemetry.CodeInvalid, "the output of the key command: %w", err).
			WithHint("encryption.key_command must print the master key alone: 64 hexadecimal digits, or base64 of 32 bytes")
	}
	m.where = "the key command"
	c.masters = append(c.masters, m)
	return nil
}

// Init draws a master key into a new file that only its owner can read.
func Init(path string) error {
	return writeKeyFile(path, NewMaster())
}

func writeKeyFile(path string, m *Master) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return telemetry.Errorf(telemetry.CodeConflict, "write master key", "%s exists", path).
			WithHint("a key file is never written over: what was sealed with its key could not be read any more")
	}
	if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
		return telemetry.Errorf(telemetry.CodeNotFound, "write master key", "there is no directory %s for %s", dir, filepath.Base(path)).
			WithHint("make it as the user that the node runs as: mkdir -p -m 700 " + shellWord(dir))
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "write master key", "%w", err)
	}
	// The mode of the file must not depend on the umask.
	err = f.Chmod(0o600)
	if err == nil || runtime.GOOS == "windows" {
		_, err = f.Write(m.text())
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "write master key", "%w", errors.Join(err, os.Remove(path)))
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "write master key", "%w", err)
	}
	return nil
}
