package demesne.masking.format_test

import data.demesne.fixtures
import data.demesne.masking.format

test_parquet if format.maskable with input as fixtures.analyst_reads

test_opaque if {
	not format.maskable with input as object.union(fixtures.analyst_reads, {"object": {"format": "opaque"}})
}

test_no_contract if {
	not format.maskable with input as object.union(fixtures.analyst_reads, {"dataset": {"contract": null}})
}
