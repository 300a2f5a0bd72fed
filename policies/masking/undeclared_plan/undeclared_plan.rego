# METADATA
# title: A masked view needs a plan
# description: |
#   A purpose class without a table in data/masking has no plan, so no view was built and none may be.
# custom:
#   code: masking.undeclared-plan
#   severity: high
package demesne.masking.undeclared_plan

import data.data.masking
import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	view.view == "masked"
	not masking.classes[facts.class]
	reason := {
		"rule": "masking/undeclared_plan",
		"code": "masking.undeclared-plan",
		"message": "No masking plan is declared for this purpose",
		"remedy": "have the compliance team add a table for the purpose class to data/masking",
	}
}
