# METADATA
# title: The purpose is one the doctrine knows
# description: |
#   A purpose outside data/purposes has no class, and what has no class sees nothing.
# custom:
#   code: purpose.unknown
#   severity: high
package demesne.purpose.known

import data.data.purposes

deny contains reason if {
	not known
	reason := {
		"rule": "purpose/known",
		"code": "purpose.unknown",
		"message": concat("", ["The doctrine knows no purpose ", input.purpose]),
		"remedy": "use one of the purposes of the doctrine, or have this one added to data/purposes",
	}
}

known if purposes.purposes[input.purpose]
