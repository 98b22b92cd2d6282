package embedded

import "context"

// toLosses makes the list of losses, which is empty. What a sealed store's manifests
// say from now on of other tables, the first start adds.
var toLosses = upgradeStep{
	from: 4, what: "note what is given up as lost: the list of losses is made",
	apply: func(_ context.Context, u *upgrader) error {
		_, sealed, err := catalogState(u.c)
		if err != nil {
			return err
		}
		return u.c.exec(lossesTable.createSQL(sealed))
	},
}
