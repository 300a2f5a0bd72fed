# METADATA
# title: Personal data stays with callers of its jurisdiction
# description: |
#   Who is subject to another jurisdiction may not reach personal data, not even masked. data/residency
#   lists who else is trusted, by jurisdiction of the data.
# custom:
#   code: residency.principal
#   severity: critical
package demesne.residency.principal

import data.data.residency
import data.demesne.facts

deny contains reason if {
	concerned
	not trusted
	reason := {
		"rule": "residency/principal",
		"code": "residency.principal",
		"message": concat("", ["Personal data of jurisdiction ", of_data, " may not be reached by a caller of another jurisdiction"]),
		"remedy": "use a principal of that jurisdiction, or a dataset of your own zone",
	}
}

concerned if {
	facts.touches_objects
	facts.here
	not facts.open
	not harmless_write
}

concerned if facts.action == "session"

# Into a dataset that holds nothing personal; what the run read is for flow.label.
harmless_write if {
	not facts.reading
	input.dataset.label == "none"
}

default of_data := "unknown"

of_data := input.dataset.jurisdiction

of_data := input.zone.jurisdiction if input.dataset == null

trusted if input.principal.jurisdiction == of_data

trusted if input.principal.jurisdiction in residency.trusted[of_data]
