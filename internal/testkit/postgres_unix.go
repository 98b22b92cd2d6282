//go:build unix

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a real PostgreSQL that belongs to one test. It listens on a socket in
// its own directory only.
type Postgres struct {
	tb  testing.TB
	dir string
	bin string
	as  *syscall.Credential // nil: this user
	cmd *exec.Cmd
}

// StartPostgres starts PostgreSQL with an empty database.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	p := &Postgres{tb: tb, bin: postgresBin()}
	if p.bin == "" {
		Missing(tb, "PostgreSQL", "install it with: apt-get install postgresql-15")
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has few bytes
	if err != nil {
		tb.Fatal(err)
	}
	p.dir = dir
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // a leftover is of no harm
	p.become()
	p.run("initdb", "-D", p.data(), "-U", "weir", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
	p.cmd = p.command("postgres", "-D", p.data(), "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=UTC")
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		_ = p.cmd.Wait()                          // it was told to
	})
	Eventually(tb, "PostgreSQL answers", func() bool {
		return p.command("psql", "-h", p.dir, "-U", "weir", "-d", "postgres", "-c", "select 1").Run() == nil
	})
	return p
}

func postgresBin() string {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err == nil && len(dirs) > 0 {
		return filepath.Dir(dirs[len(dirs)-1])
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// become lets root run it as another user, which PostgreSQL insists on.
func (p *Postgres) become() {
	p.tb.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, int(uid), int(gid)); err != nil {
			p.tb.Fatal(err)
		}
		return
	}
	p.tb.Fatal("there is no user to run PostgreSQL as")
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

func (p *Postgres) run(name string, args ...string) string {
	p.tb.Helper()
	out, err := p.command(name, args...).CombinedOutput()
	if err != nil {
		p.tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// SQL runs statements.
func (p *Postgres) SQL(statements string) string {
	p.tb.Helper()
	return p.run("psql", "-h", p.dir, "-U", "weir", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-X", "-q", "-At", "-c", statements)
}

// Dump is what pg_dump writes to standard output.
func (p *Postgres) Dump(options ...string) string {
	p.tb.Helper()
	cmd := p.command("pg_dump", append([]string{"-h", p.dir, "-U", "weir", "-d", "postgres"}, options...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		p.tb.Fatal(fmt.Errorf("pg_dump: %w: %s", err, errs.String()))
	}
	return string(out)
}
