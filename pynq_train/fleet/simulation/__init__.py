"""Fleets that are simulated: boards, links and hosts with modelled times, by simpy; and, to check
that, pipelines of threads that sleep as long as each of these takes."""
