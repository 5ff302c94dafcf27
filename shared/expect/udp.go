package expect

// udp is what flannel programs (pkg/backend/udp): one route for the whole pod
// network on its tun device. Which peer has which subnet is known to flannel's
// process alone.
func (c *Chain) udp(config Config) {
	network, _ := config.NetworkOf(c.Lease.Subnet)
	c.Forms = []Form{{Name: "udp", Dst: network, Wide: true, Tunnel: true}}
}
