# METADATA
# title: Label and place of what is written
# description: |
#   The strictest label and the narrowest placement of the dataset and of everything the run has read.
#   Personal unless both say that nothing is.
package demesne.placement.output

import data.demesne.facts

default label := "personal"

label := "none" if {
	input.dataset.label == "none"
	run_clean
}

run_clean if input.run == null

run_clean if input.run.label == "none"

default placement := null

placement := [facts.target_zone] if {
	facts.writing
	label == "personal"
}

placement := input.run.placement if {
	facts.writing
	label == "none"
	is_array(input.run.placement)
	input.run.placement != []
}
