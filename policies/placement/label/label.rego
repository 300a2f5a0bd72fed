# METADATA
# title: Labels flow with what was read
# description: |
#   A run that has read personal data cannot write into a dataset that is labelled as holding none.
# custom:
#   code: flow.label
#   severity: critical
package demesne.placement.label

import data.demesne.facts

deny contains reason if {
	facts.writing
	not flows
	reason := {
		"rule": "placement/label",
		"code": "flow.label",
		"message": "This run has read personal data, and the dataset is labelled as holding none",
		"remedy": "write to a dataset labelled personal and have the object declassified by name",
	}
}

flows if input.run == null

flows if input.run.label == "none"

flows if input.dataset.label == "personal"

# Unknown here: residency.other-zone and access.unknown-dataset speak for it.
flows if input.dataset == null
