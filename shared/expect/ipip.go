package expect

// ipip is what flannel programs for a peer's lease (pkg/backend/ipip): a route
// for the subnet via the peer's public IP, onlink, on flannel.ipip, whose
// remote end is open: the gateway says where the packet is sent. With
// DirectRouting and a peer on the same link the same route leaves by the
// node's own device, onlink as well.
func (c *Chain) ipip(config Config) {
	plain := direct(c.Lease, "direct")
	plain.OnLink = true
	tunnel := plain
	tunnel.Name, tunnel.Tunnel = "ipip", true
	c.Forms = choose(config.DirectRouting, tunnel, plain)
}
