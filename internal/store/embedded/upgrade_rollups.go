package embedded

import "context"

// toRollups makes the list of rollups, which is empty.
var toRollups = upgradeStep{
	from: 3, what: "keep aggregates: the list of rollups is made",
	apply: func(_ context.Context, u *upgrader) error {
		_, sealed, err := catalogState(u.c)
		if err != nil {
			return err
		}
		return u.c.exec(rollupsTable.createSQL(sealed))
	},
}
