"""The real components that bgexp works with beyond one machine, each started on this one."""
