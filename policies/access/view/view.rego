# METADATA
# title: Which view is asked for
# description: |
#   Exactly one, from who asks and for what; the other rules then say whether it may be had. An attested
#   session asks for raw and is never given masked rows instead: a job that trains on masks and does not
#   know it is the failure this prevents.
package demesne.access.view

import data.demesne.facts

default view := "none"

view := "open" if {
	facts.reading
	facts.open
} else := "raw" if {
	facts.reading
	facts.attested
	facts.in_scope
} else := "writer" if {
	own_facts
} else := "raw" if {
	facts.reading
	facts.attested
} else := "raw" if {
	facts.reading
	facts.sees == "raw"
} else := "writer" if {
	facts.reading
	facts.sees == "writer"
} else := "masked" if {
	facts.reading
	facts.sees == "masked"
}

# Sizes and ETags of what one wrote oneself, so that an uploader can verify.
own_facts if {
	facts.action == "head"
	facts.author
}

own_facts if {
	facts.action in {"head", "list"}
	facts.nothing_named
	facts.attested
	facts.in_contract
}
