"""`bgexp autotune`: the fastest settings of this machine whose masks are as good as fp32's."""
