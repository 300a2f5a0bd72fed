# METADATA
# title: Only the writer sees a writer's facts, or deletes or replaces in a run
# description: |
#   The size and ETag of a raw version tell something about it, so only who wrote it may have them. A
#   run deletes only what its own principal wrote, and writing over it would be deleting by another name.
# custom:
#   code: access.not-author
#   severity: medium
package demesne.access.not_author

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	foreign
	not facts.author
	reason := {
		"rule": "access/not_author",
		"code": "access.not-author",
		"message": "Somebody else wrote this object",
		"remedy": "ask who wrote it, or ask for a masked view as an analyst",
	}
}

foreign if {
	facts.action == "head"
	view.view == "writer"
	not facts.nothing_named
}

foreign if {
	facts.action in {"delete", "write", "complete"}
	facts.sees != "writer"
	not facts.nothing_named
}
