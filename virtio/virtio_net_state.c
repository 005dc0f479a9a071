/* SPDX-License-Identifier: MIT */
/*
 * What leaves the device for others than the guest: saved state, and the actions on a running card.
 */
#include "virtio/virtio_net.h"

#include <errno.h>
#include <stdio.h>

/* ---- saved state ---- */

/* The receive mode as a number; the order is that of the commands (5.1.6.5.1). */
enum mode {
	MODE_PROMISC = 1 << 0,
	MODE_ALLMULTI = 1 << 1,
	MODE_ALLUNI = 1 << 2,
	MODE_NOMULTI = 1 << 3,
	MODE_NOUNI = 1 << 4,
	MODE_NOBCAST = 1 << 5,
	MODE_ALL = (1 << 6) - 1,
};

static unsigned mode_of(const struct virtio_net_filter *f)
{
	return (f->promisc ? MODE_PROMISC : 0u) | (f->allmulti ? MODE_ALLMULTI : 0u) |
	       (f->alluni ? MODE_ALLUNI : 0u) | (f->nomulti ? MODE_NOMULTI : 0u) |
	       (f->nouni ? MODE_NOUNI : 0u) | (f->nobcast ? MODE_NOBCAST : 0u);
}

static void set_mode(struct virtio_net_filter *f, uint64_t mode)
{
	f->promisc = mode & MODE_PROMISC;
	f->allmulti = mode & MODE_ALLMULTI;
	f->alluni = mode & MODE_ALLUNI;
	f->nomulti = mode & MODE_NOMULTI;
	f->nouni = mode & MODE_NOUNI;
	f->nobcast = mode & MODE_NOBCAST;
}

static void save_table(struct state_writer *w, const struct virtio_net_mac_table *t)
{
	state_put_u64(w, "overflow", t->overflow);
	state_put_bytes(w, "addresses", t->mac, t->count * sizeof(t->mac[0]));
}

void virtio_net_save(struct virtio_device *vd, struct state_writer *w)
{
	const struct virtio_net *n = virtio_net(vd);

	state_put_bytes(w, "permanent_mac", &n->permanent_mac, sizeof(n->permanent_mac));
	state_put_bytes(w, "mac", &n->mac, sizeof(n->mac));
	state_put_u64(w, "link_wanted", n->link_wanted);
	state_put_u64(w, "link_backend", n->link_backend);
	state_put_u64(w, "announce", n->announce);
	state_put_u64(w, "pairs", n->pairs);
	state_put_u64(w, "guest_offloads", n->guest_offloads);
	state_put_u64(w, "rx_mode", mode_of(&n->filter));
	save_table(w, &n->filter.unicast);
	save_table(w, &n->filter.multicast);
	state_put_bytes(w, "vlans", n->filter.vlans, sizeof(n->filter.vlans));
}

static int load_table(struct state_reader *r, struct virtio_net_mac_table *t)
{
	uint64_t overflow = 0;
	size_t len = 0;
	int rc = state_get_u64(r, "overflow", &overflow, 0, 1);

	if (!rc)
		rc = state_get_blob(r, "addresses", t->mac, sizeof(t->mac), &len);
	if (!rc && (len % sizeof(t->mac[0]) || (overflow && len)))
		rc = -ERANGE;
	t->overflow = overflow;
	t->count = (unsigned)(len / sizeof(t->mac[0]));
	return rc;
}

static int load_filter(struct state_reader *r, struct virtio_net_filter *f)
{
	uint64_t mode = 0;
	int rc = state_get_u64(r, "rx_mode", &mode, 0, MODE_ALL);

	set_mode(f, mode);
	if (!rc)
		rc = load_table(r, &f->unicast);
	if (!rc)
		rc = load_table(r, &f->multicast);
	if (!rc)
		rc = state_get_bytes(r, "vlans", f->vlans, sizeof(f->vlans));
	return rc;
}

/* What is saved and not of the filter; its numbers as they are read. */
struct loaded {
	struct virtio_net_mac permanent_mac, mac;
	uint64_t link_wanted, link_backend, announce, pairs, guest_offloads;
};

static int load_scalars(struct state_reader *r, struct loaded *l, unsigned max_pairs)
{
	int rc = state_get_bytes(r, "permanent_mac", &l->permanent_mac, sizeof(l->permanent_mac));

	if (!rc)
		rc = state_get_bytes(r, "mac", &l->mac, sizeof(l->mac));
	if (!rc)
		rc = state_get_u64(r, "link_wanted", &l->link_wanted, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "link_backend", &l->link_backend, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "announce", &l->announce, 0, 1);
	if (!rc)
		rc = state_get_u64(r, "pairs", &l->pairs, 1, max_pairs);
	if (!rc)
		rc = state_get_u64(r, "guest_offloads", &l->guest_offloads, 0, UINT64_MAX);
	if (!rc && ((l->permanent_mac.byte[0] & 1) || (l->mac.byte[0] & 1)))
		rc = -ERANGE;
	return rc;
}

int virtio_net_load(struct virtio_device *vd, struct state_reader *r, uint32_t version UNUSED)
{
	struct virtio_net *n = virtio_net(vd);
	struct virtio_net_filter filter = {0};
	struct loaded l = {0};
	int rc = load_scalars(r, &l, n->max_pairs);

	/* That the driver negotiated them as well is seen to when the device starts. */
	if (!rc && (l.guest_offloads & ~(vd->features & VIRTIO_NET_GUEST_OFFLOADS)))
		rc = -ERANGE;
	if (!rc)
		rc = load_filter(r, &filter);
	if (rc)
		return rc;
	n->permanent_mac = l.permanent_mac;
	n->mac = l.mac;
	n->announce = l.announce;
	n->pairs = (unsigned)l.pairs;
	n->guest_offloads = l.guest_offloads;
	n->rx_offloads = 0; /* until the device starts */
	n->tx_busy = 0;
	n->filter = filter;
	n->link_wanted = l.link_wanted;
	/* As the driver knows it; where the backend's is another one now, it is told at the start.
	 */
	n->link_backend = l.link_backend;
	return 0;
}

/* ---- actions ---- */

struct link_args {
	int state;
};

static const char *const link_states[] = {"down", "up", NULL};

static const struct option_desc link_options[] = {
	{.name = "state",
	 .type = OPTION_ENUM,
	 .offset = offsetof(struct link_args, state),
	 .values = link_states,
	 .required = true,
	 .help = "up or down"},
	OPTION_END,
};

static int change_link(struct device *dev, const void *args, struct report *report UNUSED,
		       struct vmm_error *err UNUSED)
{
	const struct link_args *a = args;
	struct virtio_net *n = virtio_net(virtio_device(dev));

	device_lock(dev);
	virtio_net_set_link(n, a->state, n->link_backend);
	device_unlock(dev);
	return 0;
}

static int announce(struct device *dev, const void *args UNUSED, struct report *report UNUSED,
		    struct vmm_error *err)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));
	bool possible;

	device_lock(dev);
	possible = (n->vd.status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		   virtio_has(&n->vd, VIRTIO_NET_F_GUEST_ANNOUNCE);
	if (possible) {
		n->announce = true;
		virtio_config_changed(&n->vd);
	}
	device_unlock(dev);
	if (possible)
		return 0;
	return error_set(err, EOPNOTSUPP, "the guest's driver cannot announce itself");
}

struct throttle_args {
	struct virtio_net_limits limits;
};

static const struct option_desc throttle_options[] = {
	VIRTIO_NET_LIMIT_ROWS(struct throttle_args, limits),
	OPTION_END,
};

static int throttle(struct device *dev, const void *args, struct report *report UNUSED,
		    struct vmm_error *err)
{
	const struct virtio_net_limits *limits = &((const struct throttle_args *)args)->limits;
	struct virtio_net *n = virtio_net(virtio_device(dev));
	int rc = virtio_net_check_limits(limits, err);

	if (!rc)
		rc = virtio_net_match_limits(n->net, limits, err);
	if (!rc)
		rc = virtio_throttle_set(&n->tx_throttle, &limits->tx, err);
	if (!rc)
		rc = virtio_throttle_set(&n->rx_throttle, &limits->rx, err);
	return rc;
}

static void report_mac(struct report *r, const char *name, const struct virtio_net_mac *mac)
{
	const uint8_t *b = mac->byte;
	char text[3 * ETH_ALEN];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4],
		 b[5]);
	report_string(r, name, text);
}

/* "none", "normal" (what the table says) or "all", as other monitors call it. */
static const char *extent(bool none, bool all)
{
	return none ? "none" : all ? "all" : "normal";
}

static void report_table(struct report *r, const char *name, const struct virtio_net_mac_table *t)
{
	report_begin_array(r, name);
	for (unsigned i = 0; i < t->count; i++)
		report_mac(r, NULL, &t->mac[i]);
	report_end_array(r);
}

static void report_filter(struct report *r, const struct virtio_net *n)
{
	const struct virtio_net_filter *f = &n->filter;
	bool vlans = virtio_has(&n->vd, VIRTIO_NET_F_CTRL_VLAN);

	report_begin(r, "filter");
	report_bool(r, "promiscuous", f->promisc);
	report_string(r, "unicast", extent(f->nouni, f->alluni));
	report_string(r, "multicast", extent(f->nomulti, f->allmulti));
	report_bool(r, "broadcast-allowed", !f->nobcast);
	report_bool(r, "unicast-overflow", f->unicast.overflow);
	report_bool(r, "multicast-overflow", f->multicast.overflow);
	report_table(r, "unicast-table", &f->unicast);
	report_table(r, "multicast-table", &f->multicast);
	report_string(r, "vlan", vlans ? "normal" : "all");
	report_begin_array(r, "vlan-table");
	for (unsigned id = 0; vlans && id < VIRTIO_NET_VLANS; id++)
		if (f->vlans[id / 64] >> id % 64 & 1)
			report_u64(r, NULL, id);
	report_end_array(r);
	report_end(r);
}

static void report_counters(struct report *r, const struct virtio_net *n)
{
	report_begin(r, "rx");
	report_u64(r, "packets", n->rx.packets);
	report_u64(r, "bytes", n->rx.bytes);
	report_u64(r, "dropped", n->rx.dropped);
	report_u64(r, "filtered", n->rx.filtered);
	report_end(r);
	report_begin(r, "tx");
	report_u64(r, "packets", n->tx.packets);
	report_u64(r, "bytes", n->tx.bytes);
	report_u64(r, "dropped", n->tx.dropped);
	report_end(r);
}

void virtio_net_stats(struct device *dev, struct report *r)
{
	const struct virtio_net *n = virtio_net(virtio_device(dev));

	device_lock(dev);
	report_counters(r, n);
	/* Of what passes these by, nothing is counted here. */
	report_u64(r, "vhost-queue-pairs", virtio_net_vhost_pairs(n));
	device_unlock(dev);
}

static int status(struct device *dev, const void *args UNUSED, struct report *r,
		  struct vmm_error *err UNUSED)
{
	struct virtio_net *n = virtio_net(virtio_device(dev));

	device_lock(dev);
	report_mac(r, "mac", &n->mac);
	report_mac(r, "permanent-mac", &n->permanent_mac);
	report_bool(r, "link", virtio_net_link_up(n));
	report_bool(r, "link-wanted", n->link_wanted);
	report_bool(r, "link-backend", n->link_backend);
	report_bool(r, "announcing", n->announce);
	report_u64(r, "mtu", n->mtu);
	report_u64(r, "queue-pairs", n->pairs);
	report_u64(r, "max-queue-pairs", n->max_pairs);
	report_u64(r, "vhost-queue-pairs", virtio_net_vhost_pairs(n));
	report_u64(r, "guest-offloads", n->guest_offloads);
	report_counters(r, n);
	report_filter(r, n);
	report_begin(r, "backend");
	net_report(n->net, r);
	report_end(r);
	device_unlock(dev);
	return 0;
}

const struct device_action virtio_net_actions[] = {
	{.name = "link",
	 .help = "plug the cable in or pull it out",
	 .options = link_options,
	 .implied = "state",
	 .args_size = sizeof(struct link_args),
	 .run = change_link},
	{.name = "announce",
	 .help = "have the guest tell the network where it is",
	 .run = announce},
	{.name = "throttle",
	 .help = "change the rate limits; what is not given is not limited",
	 .options = throttle_options,
	 .args_size = sizeof(struct throttle_args),
	 .run = throttle},
	{.name = "status", .help = "addresses, filters, link and counters", .run = status},
	{.name = NULL},
};
