/* SPDX-License-Identifier: MIT */
#include "tests/unit/support/loop_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

void loop_fixture_init(struct loop_fixture *f)
{
	struct vmm_error err;

	clock_fake_init(&f->clock);
	cr_assert_eq(loop_create(&f->loop, "test", &f->clock.clock, &err), 0);
}

static void act(struct probe *p)
{
	p->ran++;
	if (p->order)
		p->at = ++*p->order;
	if (p->action)
		p->action(p);
}

void probe_on_fd(struct loop_fd *lfd, unsigned events)
{
	struct probe *p = container_of(lfd, struct probe, fd);

	p->events = events;
	act(p);
}

static void on_timer(struct loop_timer *t)
{
	act(container_of(t, struct probe, timer));
}

static void on_task(struct loop_task *t)
{
	act(container_of(t, struct probe, task));
}

static void on_hook(struct loop_hook *h)
{
	act(container_of(h, struct probe, hook));
}

void probe_init(struct probe *p, struct loop *loop, void (*action)(struct probe *p))
{
	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->action = action;
	loop_timer_init(loop, &p->timer, on_timer);
	loop_task_init(&p->task, on_task);
	loop_hook_init(&p->hook, on_hook);
	p->fd.fd = -1;
}
