package expect

// hostGW is what flannel programs for a peer's lease (pkg/backend/hostgw): a
// route for the subnet via the peer's public IP, out of the device that has
// this node's own. The neighbor is an ordinary one, which the kernel resolves.
func (c *Chain) hostGW() { c.Forms = []Form{direct(c.Lease, "host-gw")} }
