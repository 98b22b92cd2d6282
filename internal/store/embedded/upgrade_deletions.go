package embedded

import "context"

// toDeletions adds the table of deleted rows.
var toDeletions = upgradeStep{
	from: 2, what: "add the list of deleted rows",
	apply: func(_ context.Context, u *upgrader) error {
		_, sealed, err := catalogState(u.c)
		if err != nil {
			return err
		}
		return u.c.exec(deletionsTable.createSQL(sealed))
	},
}
