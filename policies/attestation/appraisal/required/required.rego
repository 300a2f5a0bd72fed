# METADATA
# title: The parts that a purpose needs are there
# description: |
#   data/attestation lists submodules by posture, purpose, purpose class and label; all conditions of an entry
#   have to hold, and an entry without conditions always does. A part that is missing is contraindicated, and so is
#   everything for a purpose or posture that nobody knows.
# custom:
#   code: attestation.submodule-missing
#   severity: critical
package demesne.attestation.appraisal.required

import data.data.attestation
import data.data.purposes
import data.demesne.attestation.appraisal.submodules

default class := "none"

class := purposes.purposes[input.purpose].class

labels := {label |
	is_array(input.dataset_scope)
	some dataset in input.dataset_scope
	is_object(dataset)
	label := object.get(dataset, "label", "personal")
}

needed contains name if {
	some entry in attestation.required
	is_object(entry)
	applies(entry)
	some name in entry.submods
}

applies(entry) if {
	object.get(entry, "posture", input.posture) == input.posture
	object.get(entry, "purpose", input.purpose) == input.purpose
	object.get(entry, "class", class) == class
	labelled(entry)
}

labelled(entry) if not "label" in object.keys(entry)

labelled(entry) if entry.label in labels

# To the part that is missing everything is denied.
missing contains name if {
	some name in needed
	not name in object.keys(submodules.all)
}

doubts contains doubt if {
	some name in missing
	doubt := {
		"submod": name,
		"claim": "instance-identity",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/required",
		"code": "attestation.submodule-missing",
		"message": "The purpose needs this part of the machine, and no evidence of it was given",
		"remedy": "send evidence of it, GPUs as additional evidence",
	}
}

complete if {
	input.posture in {"development", "production"}
	class != "none"
	is_array(input.dataset_scope)
	is_array(attestation.required)
	every entry in attestation.required {
		understood(entry)
	}
}

# A misspelt condition or list would need nothing of anybody, silently.
understood(entry) if {
	is_object(entry)
	count(object.keys(entry) - {"posture", "purpose", "class", "label", "submods"}) == 0
	is_array(entry.submods)
	count(entry.submods) > 0
	every name in entry.submods {
		is_string(name)
	}
	object.get(entry, "posture", "production") in {"development", "production"}
	object.get(entry, "purpose", input.purpose) in object.keys(purposes.purposes)
	object.get(entry, "class", class) in known_classes
	object.get(entry, "label", "none") in {"none", "personal"}
}

known_classes contains purpose.class if some purpose in purposes.purposes

# Not about a part of the machine: about the question.
refused contains reason if {
	not complete
	reason := {
		"rule": "attestation/appraisal/required",
		"code": "attestation.purpose",
		"message": "The doctrine knows no such purpose, posture or scope",
		"remedy": "attest for a purpose of the doctrine",
	}
}
