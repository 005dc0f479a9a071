/* SPDX-License-Identifier: MIT */
/*
 * All virtio device classes, and those of what sits on them. A new one is declared here and added
 * to the machine's array of device classes.
 */
#ifndef VIRTIO_VIRTIO_CLASSES_H
#define VIRTIO_VIRTIO_CLASSES_H

#include "virtio/scsi_lun.h"
#include "virtio/virtio.h"

extern const struct virtio_class virtio_balloon_class;
extern const struct virtio_class virtio_blk_class;
extern const struct virtio_class virtio_net_class;
extern const struct virtio_class virtio_rng_class;
extern const struct virtio_class virtio_scsi_class;
extern const struct virtio_class virtio_serial_class;

/* Children of virtio-serial. */
extern const struct device_class serial_port_class;
extern const struct device_class console_port_class;

/* On virtio-scsi. */
extern const struct scsi_lun_class scsi_disk_class;
extern const struct scsi_lun_class scsi_cd_class;

#endif
