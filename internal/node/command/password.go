package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/source/credentials"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Password reads a password from In (one line; an empty one asks for a new one)
// and prints the user's line of a password file.
func Password(e *Env, user string) error {
	if err := credentials.CheckName(user); err != nil {
		return telemetry.Errorf(telemetry.CodeInvalid, "make a password", "%w", err)
	}
	if atTerminal(e.In) {
		if _, err := fmt.Fprintf(e.Err, "Type the password of %s and Enter (it is shown; Enter alone makes one): ", user); err != nil {
			return err
		}
	}
	given, err := bufio.NewReader(io.LimitReader(e.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(given, "\n"), "\r")
	if password == "" {
		password = credentials.New()
		if _, err := fmt.Fprintf(e.Err, "the password of %s is %s\n", user, password); err != nil {
			return err
		}
	}
	line, err := credentials.Line(user, password)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeInvalid, "make a password", "%w", err)
	}
	return e.printf("%s\n", line)
}

// atTerminal reports whether a person types what is read.
func atTerminal(in io.Reader) bool {
	f, ok := in.(interface { // as *os.File
		Stat() (fs.FileInfo, error)
		Name() string
	})
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// lanUser is the user that --lan makes.
const lanUser = "weir"

// LanUsers returns the file of users that --lan needs, made in the data directory
// at the first start. The password is printed then and never again.
func LanUsers(c *config.Loaded, out io.Writer) (string, error) {
	path := filepath.Join(c.DataDir, "lan-users")
	if _, err := os.Stat(path); err == nil {
		_, err = fmt.Fprintf(out, "Other machines log in as user %s, as was shown at the first start with --lan.\nFor a new login remove %s and start again.\n\n", lanUser, path)
		return path, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", node.DataDirError(c.DataDir, err)
	}
	password := credentials.New()
	line, err := credentials.Line(lanUser, password)
	if err != nil {
		return "", err
	}
	if err := durable.MakeDir(c.DataDir, 0o700); err != nil {
		return "", node.DataDirError(c.DataDir, err)
	}
	if err := os.WriteFile(path, []byte("# made by weir serve --lan; weir password NAME makes more lines\n"+line+"\n"), 0o600); err != nil {
		return "", telemetry.Errorf(telemetry.CodeUnavailable, "keep the credentials", "%w", err)
	}
	_, err = fmt.Fprintf(out, "Credentials for other machines (shown once; their hash is in %s):\n  user %s, password %s\n\n", path, lanUser, password)
	return path, err
}
