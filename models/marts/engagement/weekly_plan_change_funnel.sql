with

weeks as (

    select
        week_start_date,
        explode(array('upgrade', 'downgrade')) as direction
    from {{ ref('weekly_kpis') }}

),

user_weeks as (

    select
        trunc(activity_date, 'week') as week_start_date,
        user_id,
        sum(upgrade_visits) as upgrade_visits,
        sum(upgrades) as upgrades,
        sum(downgrade_visits) as downgrade_visits,
        sum(downgrades) as downgrades
    from {{ ref('fct_user_days') }}
    group by trunc(activity_date, 'week'), user_id

),

user_directions as (

    select
        week_start_date,
        stack(
            2, 'upgrade', upgrade_visits, upgrades, 'downgrade', downgrade_visits, downgrades
        ) as (direction, visits, submits)
    from user_weeks

),

totals as (

    select
        week_start_date,
        direction,
        count_if(visits > 0) as visiting_users,
        sum(visits) as visits,
        count_if(submits > 0) as submitting_users,
        sum(submits) as submits,
        count_if(visits > 0 and submits > 0) as converted_users
    from user_directions
    group by week_start_date, direction

),

funnel as (

    select
        weeks.week_start_date,
        weeks.direction,
        coalesce(totals.visiting_users, 0) as visiting_users,
        coalesce(totals.visits, 0) as visits,
        coalesce(totals.submitting_users, 0) as submitting_users,
        coalesce(totals.submits, 0) as submits,
        coalesce(totals.converted_users, 0) as converted_users,
        try_divide(totals.converted_users, totals.visiting_users) as converted_share
    from weeks
    left join totals
        on
            weeks.week_start_date = totals.week_start_date
            and weeks.direction = totals.direction

)

select * from funnel
