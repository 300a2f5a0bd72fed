# METADATA
# title: The action is one the doctrine knows
# description: |
#   A new action of the gateway is refused until someone wrote down what it means.
# custom:
#   code: input.unknown-action
#   severity: critical
package demesne.guardrails.known_action

import data.data.access

deny contains reason if {
	not known
	reason := {
		"rule": "guardrails/known_action",
		"code": "input.unknown-action",
		"message": "The doctrine does not know this action",
		"remedy": "this gateway is newer than its doctrine: update the bundle",
	}
}

# A helper, because OPA and regorus differ on `not x in y` where x is undefined.
known if input.request.action in access.actions
