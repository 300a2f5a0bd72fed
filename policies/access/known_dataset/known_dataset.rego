# METADATA
# title: The dataset exists
# description: |
#   Objects are decided on with the facts of their dataset; without them nothing is.
# custom:
#   code: access.unknown-dataset
#   severity: medium
package demesne.access.known_dataset

import data.demesne.facts

deny contains reason if {
	facts.touches_objects
	facts.here
	not known
	reason := {
		"rule": "access/known_dataset",
		"code": "access.unknown-dataset",
		"message": "There is no such dataset for you",
		"remedy": "check the name and the credentials",
	}
}

known if {
	is_string(input.dataset.id)
	input.dataset.id != ""
}
