package transfer

// The formats that carry readings of one table both ways.
const (
	CSV     = "csv"
	NDJSON  = "ndjson"
	Parquet = "parquet"
)
