# METADATA
# title: Only formats that can be rebuilt are masked
# description: |
#   Everything but the formats in data/masking is readable raw or not at all.
# custom:
#   code: masking.format
#   severity: medium
package demesne.masking.unmaskable

import data.demesne.access.view
import data.demesne.facts
import data.demesne.masking.format
import data.demesne.masking.inherited

deny contains reason if {
	view.view == "masked"
	not facts.nothing_named
	not inherited.made_by_run
	not format.maskable
	reason := {
		"rule": "masking/unmaskable",
		"code": "masking.format",
		"message": "This object's format cannot be masked",
		"remedy": "read it in an attested session, or have it ingested as Parquet or CSV",
	}
}
