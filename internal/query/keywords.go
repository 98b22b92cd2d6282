package query

import (
	"strings"
)

// isName reports whether the token can name a table or column as it stands.
func isName(t token) bool {
	return t.kind == tokQuoted || t.kind == tokWord && !reserved[strings.ToUpper(t.text)]
}

func wordSet(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

var (
	// reserved are the keywords that SQLite never takes for a name.
	reserved = wordSet(`ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CHECK COLLATE COMMIT CONSTRAINT CREATE DEFAULT
		DEFERRABLE DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FOREIGN FROM GROUP HAVING IN INDEX INSERT INTERSECT
		INTO IS ISNULL JOIN LIMIT NOT NOTHING NOTNULL NULL ON OR ORDER PRIMARY REFERENCES RETURNING SELECT SET TABLE
		THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES WHEN WHERE`)
	joinWords = wordSet(`JOIN CROSS LEFT RIGHT FULL INNER OUTER NATURAL INDEXED NOT`)
	// notAlias are the words that end a term rather than name it.
	notAlias = wordSet(`CROSS LEFT RIGHT FULL INNER OUTER NATURAL INDEXED WINDOW OVER FILTER WITHIN LIKE GLOB MATCH
		REGEXP ASC DESC NULLS END OFFSET`)
)
