# METADATA
# title: Which objects can be masked
# description: A format the view builder rebuilds, in a dataset whose contract names columns.
package demesne.masking.format

import data.data.masking
import data.demesne.facts

maskable if facts.nothing_named

columns_named if {
	is_array(input.dataset.contract.columns)
	input.dataset.contract.columns != []
}

maskable if {
	input.object.format in masking.formats
	columns_named
}
