# METADATA
# title: Names of objects can be personal too
# description: |
#   Where the contract says that keys are personal, a masked view has no list: names cannot be masked
#   and still be fetched.
# custom:
#   code: access.keys-personal
#   severity: high
package demesne.access.personal_keys

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	facts.action == "list"
	view.view == "masked"
	not plain_keys
	reason := {
		"rule": "access/personal_keys",
		"code": "access.keys-personal",
		"message": "The object names of this dataset are personal data",
		"remedy": "fetch objects by names you were given, or ask the owner to say keys_personal: false",
	}
}

plain_keys if input.dataset.contract.keys_personal == false
