"""HQINet, {cite}`lu2021`, its rivals and its cohort."""
