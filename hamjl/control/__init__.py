"""The functional G of a control on a mesh, its gradient and curvature by the costate equation, and its minimiser."""
