-- Which pages do users who cancelled open more often than those who stayed?
-- Pages per active day of a user, as totals stop where a user leaves; then quartiles over users.
with

user_totals as (

    select
        user_id,
        count(*) as active_days,
        stack(
            13,
            'songs', sum(songs),
            'thumbs_up', sum(thumbs_up),
            'thumbs_down', sum(thumbs_down),
            'playlist_adds', sum(playlist_adds),
            'friend_adds', sum(friend_adds),
            'adverts', sum(adverts),
            'errors', sum(errors),
            'home_visits', sum(home_visits),
            'help_visits', sum(help_visits),
            'settings_visits', sum(settings_visits),
            'logouts', sum(logouts),
            'upgrade_visits', sum(upgrade_visits),
            'downgrade_visits', sum(downgrade_visits)
        ) as (page_category, pages)
    from {{ target.schema }}_published.fct_user_days
    group by user_id

),

user_pages as (

    select
        user_id,
        page_category,
        pages / active_days as pages_per_day
    from user_totals

)

select
    user_pages.page_category,
    users.is_churned,
    count(*) as users,
    avg(user_pages.pages_per_day) as mean_per_day,
    percentile(user_pages.pages_per_day, 0.25) as lower_quartile,
    percentile(user_pages.pages_per_day, 0.5) as median_per_day,
    percentile(user_pages.pages_per_day, 0.75) as upper_quartile
from user_pages
inner join {{ target.schema }}_published.dim_users as users on user_pages.user_id = users.user_id
group by user_pages.page_category, users.is_churned
order by user_pages.page_category, users.is_churned
