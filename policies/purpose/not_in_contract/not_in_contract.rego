# METADATA
# title: The dataset may be used for this purpose
# description: |
#   Its contract lists the purposes it may be used for. A dataset without a contract may be used for
#   none.
# custom:
#   code: purpose.not-in-contract
#   severity: high
package demesne.purpose.not_in_contract

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	used
	not facts.in_contract
	reason := {
		"rule": "purpose/not_in_contract",
		"code": "purpose.not-in-contract",
		"message": concat("", [dataset_name, " may not be used for the purpose ", input.purpose]),
		"remedy": "ask the owner of the dataset to add the purpose to its contract",
	}
}

used if {
	facts.here
	view.view in {"raw", "masked"}
}

# Stewards write before there is a contract; everyone else writes for a purpose.
used if {
	facts.here
	facts.writing
	facts.sees != "writer"
}

used if {
	facts.here
	facts.action == "delete"
	facts.sees != "writer"
}

default dataset_name := "The dataset"

dataset_name := input.dataset.name
